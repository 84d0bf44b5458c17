//go:build !linux

package main

import "time"

// clock tells whether the machine's time can be trusted.
func (d *diagnosis) clock() {
	if time.Now().Year() < 2025 {
		d.wrong("The clock says %s. Certificates and links that expire would not work; set it.", time.Now().Format(time.DateTime))
	}
}
