package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is a clock that runs on through suspend (CLOCK_BOOTTIME), which Go's
// monotonic clock does not: a lease goes on expiring while the station sleeps.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(ts.Nano())
}
