//go:build !linux

package agent

import "time"

// SinceBoot uses the wall clock, which runs on through suspend on every system;
// unlike CLOCK_BOOTTIME it can be set, so a lease may look longer or shorter by that.
func SinceBoot() time.Duration { return time.Duration(time.Now().UnixNano()) }
