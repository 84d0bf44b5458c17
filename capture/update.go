package capture

// Update is what a tap hands to its receiver: the newest frame and everything
// that changed since the tap's previous update. The receiver must Release the
// Frame.
type Update struct {
	Frame  *Frame
	Damage Damage
}
