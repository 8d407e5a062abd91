package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/provision"
)

// labelPrinter prints nothing, and remembers what it was to print.
type labelPrinter struct {
	mu     sync.Mutex
	sheets []string // token serials
	jam    error
}

func (p *labelPrinter) print(_ context.Context, rec *provision.Record) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jam != nil {
		return "", p.jam
	}
	p.sheets = append(p.sheets, string(rec.Token.Identity.Serial))
	return "handed to the printer", nil
}

func (p *labelPrinter) jammed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jam = err
}

// hand is somebody at a station with finished tokens in its bays, whose daemon runs.
type hand struct {
	*pcscd
	printer *labelPrinter
	agent   *Agent
	serials []string // of the tokens, in bay order
	bays    []int    // where they are
	stop    func()
}

func newHand(t *testing.T, tokens int) *hand {
	t.Helper()
	h := &hand{pcscd: newPCSCD(t, tokens), printer: &labelPrinter{}}
	h.pcsc, h.config.Probe, h.config.PrintLabel = "", nil, h.printer.print
	h.order(tokens)
	if summary, err := h.run(t.Context()); err != nil || summary.Finished != tokens {
		t.Fatalf("%+v (%v)", summary, err)
	}
	labels, err := h.journal.Labels()
	if err != nil || len(labels) != tokens {
		t.Fatalf("%d labels (%v)", len(labels), err)
	}
	for _, l := range labels {
		var bay int
		if _, err := fmt.Sscanf(l.Record.Token.Module, "bay-%02d", &bay); err != nil {
			t.Fatal(err)
		}
		h.serials, h.bays = append(h.serials, string(l.Record.Token.Identity.Serial)), append(h.bays, bay-1)
	}
	h.config.Drain = false
	h.begin()
	return h
}

// begin starts the daemon.
func (h *hand) begin() {
	ctx, stop := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	a, end := h.newAgent()
	h.agent = a
	go func() {
		_, err := a.Run(ctx)
		ended <- err
	}()
	h.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			h.t.Error(err)
		}
		end()
	})
	h.t.Cleanup(h.stop)
}

// pull takes tokens out of their bays, put puts them back.
func (h *hand) pull(tokens ...int) {
	for _, i := range tokens {
		h.shims[h.bays[i]].Rules(h.t, pkcs11test.Removed(pkcs11.TokenSerial(h.serials[i])))
	}
}

func (h *hand) put(tokens ...int) {
	for _, i := range tokens {
		h.shims[h.bays[i]].Rules(h.t)
	}
}

func (h *hand) states(want ...provision.LabelState) {
	h.t.Helper()
	var got []provision.LabelState
	h.waitFor("the labels to be seen", func() bool {
		got = nil
		for _, l := range h.agent.View().Labels {
			got = append(got, l.State)
		}
		return slices.Equal(got, want)
	})
}

func (h *hand) alarms(want ...string) {
	h.t.Helper()
	h.waitFor("alarms "+strings.Join(want, ", "), func() bool {
		var got []string
		for _, a := range h.agent.Alarms() {
			got = append(got, a.Code)
		}
		return slices.Equal(got, want)
	})
}

func (h *hand) confirm(serial string) {
	h.t.Helper()
	h.waitFor("the label of "+serial+" to be taken as stuck on", func() bool {
		_, err := h.journal.ConfirmLabel(serial, "p1", time.Now())
		var refused *provision.LabelRefusal
		if err != nil && !(errors.As(err, &refused) && refused.Fault == provision.LabelUnseen) {
			h.t.Fatal(err)
		}
		return err == nil
	})
}

const (
	inBay   = provision.LabelInBay
	printed = provision.LabelPrinted
	mixed   = provision.LabelMixed
)

// TestLabelsOneAtATime pulls tokens as it should be done, as it should not, and with the daemon
// stopped meanwhile.
func TestLabelsOneAtATime(t *testing.T) {
	h := newHand(t, 3)
	h.states(inBay, inBay, inBay)
	h.pull(0)
	h.states(printed, inBay, inBay)
	h.alarms()
	h.confirm(h.serials[0])
	h.states(inBay, inBay)

	h.printer.jammed(errors.New("no paper"))
	h.pull(1)
	h.alarms(AlarmLabel)
	h.pull(2)
	h.alarms(AlarmMixed)
	h.states(mixed, mixed)
	h.printer.jammed(nil)
	h.stop()
	h.put(1)
	h.begin()
	h.alarms(AlarmMixed) // the journal has kept it, and the one that is there does for itself only
	h.states(inBay, mixed)
	h.put(2)
	h.states(inBay, inBay)
	h.alarms()

	h.stop()
	h.pull(1)
	h.begin()
	h.states(printed, inBay)
	h.confirm(h.serials[1])
	h.pull(2)
	h.states(printed)
	h.confirm(h.serials[2])
	h.states()
	h.alarms()
	h.stop()
	if !slices.Equal(h.printer.sheets, h.serials) {
		t.Errorf("labels of %v were printed for tokens %v", h.printer.sheets, h.serials)
	}
}

// TestLabelIsPrintedWhenThePrinterWorksAgain: nobody has to ask for it.
func TestLabelIsPrintedWhenThePrinterWorksAgain(t *testing.T) {
	h := newHand(t, 1)
	h.printer.jammed(errors.New("no paper"))
	h.pull(0)
	h.alarms(AlarmLabel)
	h.printer.jammed(nil)
	h.states(printed)
	h.alarms()
}

// TestPutBackTokenHasToBeTheOne: a token whose certificate is not what was installed settles
// nothing.
func TestPutBackTokenHasToBeTheOne(t *testing.T) {
	h := newHand(t, 2)
	h.pull(0, 1)
	h.states(mixed, mixed)
	h.shims[h.bays[0]].Rules(t, "C_FindObjects return 0x30") // CKR_DEVICE_ERROR
	h.put(1)
	h.states(mixed, inBay)
	time.Sleep(10 * h.config.WatchInterval)
	h.states(mixed, inBay)
	h.alarms(AlarmMixed)
	h.put(0)
	h.states(inBay, inBay)
	h.alarms()
}

// TestLabelsOtherwise: where they do not come one at a time, nothing is waited for.
func TestLabelsOtherwise(t *testing.T) {
	h := newHand(t, 2)
	h.stop()
	h.config.PrintLabel = nil
	h.pull(0, 1)
	h.begin()
	h.waitFor("labels to be forgotten", func() bool {
		labels, err := h.journal.Labels()
		return err == nil && len(labels) == 0
	})
	h.alarms()
	if len(h.printer.sheets) > 0 {
		t.Errorf("printed: %v", h.printer.sheets)
	}
}
