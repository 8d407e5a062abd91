package worker

import (
	"testing"
	"time"
)

// TestNoCallBeginsWithoutAParent: what was read after the parent had gone is not
// begun, as it would be cut off; what was begun before has its time.
func TestNoCallBeginsWithoutAParent(t *testing.T) {
	var idle underway
	if until := idle.parentGone(); !until.IsZero() {
		t.Errorf("between calls a call is under way until %s", until)
	}
	if idle.begin(time.Minute) {
		t.Error("a call begins though the parent has gone")
	}

	var busy underway
	if !busy.begin(time.Minute) {
		t.Fatal("no call begins though the parent is there")
	}
	if left := time.Until(busy.parentGone()); left < 50*time.Second || left > time.Minute {
		t.Errorf("the call under way has %s", left)
	}
	busy.end()
	if busy.begin(time.Minute) {
		t.Error("another call begins though the parent has gone")
	}
}
