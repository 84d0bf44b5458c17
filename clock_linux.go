package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock tells whether the machine's time can be trusted.
func (d *diagnosis) clock() {
	if time.Now().Year() < 2025 {
		d.wrong("The clock says %s. Certificates and links that expire would not work; set it.", time.Now().Format(time.DateTime))
		return
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const unsynchronised = 5 // TIME_ERROR
	switch {
	case err != nil:
		d.note("The kernel does not tell whether the clock is right: %v.", err)
	case state == unsynchronised:
		d.note("Nothing keeps the clock right (no NTP). Links may expire early or late; latency is measured all the same, as pages compare the clocks.")
	default:
		d.good("The clock is kept right, to about %v.", (time.Duration(t.Maxerror) * time.Microsecond).Round(time.Millisecond))
	}
}
