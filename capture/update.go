package capture

// Update is a frame and all that has changed since the update that the same
// watcher took before. The receiver releases the Frame.
type Update struct {
	Frame  *Frame
	Damage Damage
}
