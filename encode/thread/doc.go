// Package thread has C work on a thread of its own while the goroutine that
// waits for it is parked, as it is when it waits for a network. While a call
// through cgo takes its milliseconds, the runtime looks every 20 to 70 µs whether
// it has ended, which costs as much as 5 % of the encoding of a picture.
package thread
