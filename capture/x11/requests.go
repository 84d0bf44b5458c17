package x11

import (
	"image"

	"deskwhep/capture"
)

// Request codes of the core protocol.
const (
	opChangeWindowAttributes = 2
	opGetWindowAttributes    = 3
	opGetGeometry            = 14
	opGetAtomName            = 17
	opGetProperty            = 20
	opQueryPointer           = 38
	opGetInputFocus          = 43
	opFreePixmap             = 54
	opCreateGC               = 55
	opFreeGC                 = 60
	opCopyArea               = 62
	opGetImage               = 73
	opQueryExtension         = 98
)

// Request codes of the extensions, within each.
const (
	shmAttach       = 1
	shmDetach       = 2
	shmGetImage     = 4
	shmCreatePixmap = 5
	shmAttachFd     = 6

	damageCreate   = 1
	damageDestroy  = 2
	damageSubtract = 3

	fixesSelectCursorInput = 3
	fixesGetCursorImage    = 4
	fixesCreateRegion      = 5
	fixesDestroyRegion     = 10
	fixesSetRegion         = 11
	fixesUnionRegion       = 13
	fixesFetchRegion       = 19
	fixesSetGCClipRegion   = 20

	randrSelectInput        = 4
	randrGetOutputInfo      = 9
	randrGetCrtcInfo        = 20
	randrGetScreenResources = 25 // ...Current: asks no hardware
	randrGetMonitors        = 42

	compositeRedirectWindow   = 1
	compositeNameWindowPixmap = 6

	xiSelectEvents = 46
	xiQueryVersion = 47
)

// Event codes of the core protocol.
const (
	evDestroyNotify   = 17
	evUnmapNotify     = 18
	evMapNotify       = 19
	evConfigureNotify = 22
	evGeneric         = 35
)

const (
	zPixmap         = 2
	allPlanes       = 0xffffffff
	structureNotify = 1 << 17
	// damageBoundingBox asks for an event each time the box around all damage
	// since the last subtraction grows: enough to tell a small change from a
	// large one, and few enough not to cost.
	damageBoundingBox = 2
)

// fixes, damage and so on append a request of that extension.
func (c *conn) fixes(minor byte, words ...uint32) uint16 {
	return c.put(c.ext[extFixes].opcode, minor, words...)
}

func (c *conn) damage(minor byte, words ...uint32) uint16 {
	return c.put(c.ext[extDamage].opcode, minor, words...)
}

func (c *conn) shm(minor byte, words ...uint32) uint16 {
	return c.put(c.ext[extShm].opcode, minor, words...)
}

func (c *conn) randr(minor byte, words ...uint32) uint16 {
	return c.put(c.ext[extRandr].opcode, minor, words...)
}

// createGC makes a graphics context for copies from a window with its children
// (IncludeInferiors) and without events about what could not be copied.
func (c *conn) createGC(drawable uint32) uint32 {
	gc := c.id()
	const subwindowMode, graphicsExposures = 1 << 15, 1 << 16
	c.put(opCreateGC, 0, gc, drawable, subwindowMode|graphicsExposures, 1, 0)
	return gc
}

func (c *conn) createRegion() uint32 {
	id := c.id()
	c.fixes(fixesCreateRegion, id)
	return id
}

// setRegion makes a region the one rectangle.
func (c *conn) setRegion(region uint32, r image.Rectangle) {
	c.fixes(fixesSetRegion, region, pair(r.Min.X, r.Min.Y), pair(r.Dx(), r.Dy()))
}

// addRegion adds a region to another.
func (c *conn) addRegion(to, region uint32) { c.fixes(fixesUnionRegion, to, region, to) }

// addRects adds the rectangles of FetchRegion's reply, moved by -origin and
// clipped to the size.
func addRects(d *capture.Damage, m []byte, origin, size image.Point) {
	bounds := image.Rectangle{Max: size}
	for m = m[32:]; len(m) >= 8; m = m[8:] {
		d.Add(rectangle(m).Sub(origin).Intersect(bounds))
	}
}

// rectangle reads an x, y, width and height of 16 bits each.
func rectangle(m []byte) image.Rectangle {
	at := image.Pt(int(int16(le.Uint16(m))), int(int16(le.Uint16(m[2:]))))
	return image.Rectangle{at, at.Add(image.Pt(int(le.Uint16(m[4:])), int(le.Uint16(m[6:]))))}
}
