package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// RecordKeys are the keys of the station's record.
type RecordKeys struct {
	// Signer is the key of the station's certificate.
	Signer crypto.Signer
	// Central are the keys of the certificates under which the server stands.
	Central []crypto.PublicKey
}

// AlarmRecord says that the station's record is not what the central server has of it,
// or what it had itself.
const AlarmRecord = "record-broken"

const recordHint = "Leave the state folder as it is and call whoever answers for this station: its disk was changed, or put back to an earlier state. usbkeyd audit verify says more."

const (
	// recordEntries and recordBytes bound what it gets at once.
	recordEntries = 256
	recordBytes   = 100 << 10
)

// errRecordAnswer says that a server cannot be believed about the record.
var errRecordAnswer = errors.New("the central server's checkpoint cannot be used")

// checkRecord compares the record with the last checkpoint that the server has signed:
// as it is kept here, and as the server has it now. It goes through all entries. A
// record that was changed or put back is an audit.ErrBroken, and nothing may be done.
func (a *Agent) checkRecord(ctx context.Context) error {
	if a.Record == nil {
		return nil
	}
	base, err := a.Runner.Journal.RecordBase()
	if err != nil {
		return err
	}
	var known []audit.Checkpoint
	kept, err := a.Runner.Journal.Anchor()
	if err != nil {
		return err
	}
	if kept != nil {
		c, err := a.openAnchor(kept)
		if err != nil {
			return &audit.BrokenError{What: "the anchor that is kept with it cannot be used", Err: err}
		}
		known = append(known, c)
	}
	answer, err := a.Central.record(ctx, a.InstanceID)
	if keepsNone(err) {
		a.log.Warn("the central server keeps no records, so that nothing made here can be packed", "error", err)
		answer, err = api.RecordAnchor{Size: base.Size}, nil
	}
	if err != nil {
		return err
	}
	if answer.Forked {
		return &audit.BrokenError{Index: answer.Size, What: "the central server knows that it is forked"}
	}
	if answer.Size < base.Size {
		return &audit.BrokenError{Index: answer.Size, What: "the central server has lost what comes then, which it had signed, and which is no longer here"}
	}
	if answer.Checkpoint != nil {
		c, err := a.openAnchor([]byte(*answer.Checkpoint))
		if err != nil {
			return fmt.Errorf("%w: %w", errRecordAnswer, err)
		}
		known = append(known, c)
	}
	begun := time.Now()
	whole, err := a.Runner.Journal.VerifyRecord(known...)
	if errors.Is(err, audit.ErrDropped) { // nothing is dropped that was not signed
		return &audit.BrokenError{Index: base.Size, What: "it begins after a checkpoint that was signed", Err: err}
	}
	if err != nil {
		return err
	}
	a.sent = answer.Size
	a.log.Info("the record holds", "entries", whole.Size, "from", base.Size, "anchored", answer.Size, "took", time.Since(begun).Round(time.Millisecond).String())
	return nil
}

// openAnchor reads a checkpoint that the server has signed.
func (a *Agent) openAnchor(signed []byte) (audit.Checkpoint, error) {
	return audit.Keys{Central: a.Record.Central}.OpenCosigned(signed, audit.Origin(a.Central.station, a.InstanceID))
}

// records sends what is new in the record until ctx ends. Nobody waits for it but parcels,
// so that stations that lost the same server need not all send at once.
func (a *Agent) records(ctx context.Context) {
	failures := 0
	a.sleep(ctx, a.Jitter(a.RecordInterval), nil)
	for ctx.Err() == nil {
		sent, err := a.sendRecord(ctx)
		if err == nil {
			err = a.makeStatements()
		}
		if err == nil {
			err = a.compact(ctx)
		}
		switch {
		case errors.Is(err, audit.ErrBroken):
			a.recordBroken(err)
			return
		case err != nil && ctx.Err() == nil:
			a.log.Warn("the record waits to be sent", "error", err)
			a.sleep(ctx, max(a.RecordInterval, a.backoff(failures)), nil)
			failures++
		case sent == 0:
			failures = 0
			a.sleep(ctx, a.RecordInterval, nil)
		default:
			failures = 0
		}
	}
}

// lastRecord gives the record one more chance when the daemon stops.
func (a *Agent) lastRecord() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for {
		sent, err := a.sendRecord(ctx)
		if errors.Is(err, audit.ErrBroken) {
			return err
		}
		if sent == 0 || err != nil { // it is sent at the next start
			return a.makeStatements()
		}
	}
}

// sendRecord sends one part of the record and keeps the checkpoint that the server has
// signed. It returns how many entries the server has now that it had not.
func (a *Agent) sendRecord(ctx context.Context) (int64, error) {
	if a.Record == nil {
		return 0, nil
	}
	part, err := a.nextPart()
	if err != nil || len(part.Entries) == 0 {
		return 0, err
	}
	answer, err := a.Central.putRecord(ctx, a.InstanceID, part)
	switch {
	case isProblem(err, api.ProblemRecordForked):
		return 0, &audit.BrokenError{Index: part.First, What: "the central server has other entries", Err: err}
	case isProblem(err, api.ProblemInvalidContent): // a server that was put back has fewer
		return 0, errors.Join(err, a.checkRecord(ctx))
	case err != nil:
		return 0, err
	}
	before := a.sent
	if err := a.anchor(answer, part.First+int64(len(part.Entries))); err != nil {
		return 0, err
	}
	return a.sent - before, nil
}

// nextPart is what the server does not have yet, or the first of it, signed.
func (a *Agent) nextPart() (api.RecordRequest, error) {
	rows, err := a.Runner.Journal.RecordRows(a.sent, recordEntries)
	if err != nil || len(rows) == 0 {
		return api.RecordRequest{}, err
	}
	part, size := api.RecordRequest{First: a.sent}, 0
	for _, row := range rows {
		if size += len(row.Line); size > recordBytes && len(part.Entries) > 0 {
			break
		}
		part.Entries = append(part.Entries, string(row.Line))
	}
	c, err := a.Runner.Journal.Checkpoint(a.sent + int64(len(part.Entries)))
	if err != nil {
		return api.RecordRequest{}, err
	}
	c.Origin = audit.Origin(a.Central.station, a.InstanceID)
	signer, err := audit.NewSigner(a.Central.station, a.Record.Signer)
	if err != nil {
		return api.RecordRequest{}, err
	}
	signed, err := c.Sign(signer)
	part.Checkpoint = string(signed)
	return part, err
}

// anchor keeps the server's checkpoint, which must be of this very record.
func (a *Agent) anchor(answer api.RecordAnchor, sent int64) error {
	if answer.Checkpoint == nil {
		return fmt.Errorf("%w: there is none", errRecordAnswer)
	}
	c, err := a.openAnchor([]byte(*answer.Checkpoint))
	if err != nil {
		return fmt.Errorf("%w: %w", errRecordAnswer, err)
	}
	if c.Size < sent {
		return fmt.Errorf("%w: it is of %d entries where %d were sent", errRecordAnswer, c.Size, sent)
	}
	size, err := a.Runner.Journal.RecordSize()
	if err != nil {
		return err
	}
	if c.Size > size {
		return &audit.BrokenError{Index: size, What: fmt.Sprintf("it ends here, and the central server has %d entries", c.Size)}
	}
	own, err := a.Runner.Journal.Checkpoint(c.Size)
	if err != nil {
		return err
	}
	if own.Root != c.Root {
		return &audit.BrokenError{Index: c.Size, What: "the central server has other entries before"}
	}
	if err := a.Runner.Journal.SetAnchor([]byte(*answer.Checkpoint)); err != nil {
		return err
	}
	a.sent = c.Size
	return nil
}

// recordBroken stops the station: what is at work comes to its end, and nothing else is begun.
func (a *Agent) recordBroken(err error) {
	a.log.Error("alarm", "code", AlarmRecord, "error", err, "todo", recordHint)
	a.mu.Lock()
	a.broken = &Alarm{Code: AlarmRecord, Since: time.Now(), Text: err.Error(), Hint: recordHint}
	if a.claiming {
		a.stopClaim() // a lease that is on the way runs out
	}
	a.mu.Unlock()
	a.fail(err)
}

// recordStops reports that nothing may be begun.
func (a *Agent) recordStops() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.broken != nil
}

// witness records an act of the station itself. Where the journal cannot be written no
// unit is claimed and no token is touched, so there is nothing to hold up here.
func (a *Agent) witness(act audit.Entry) { a.forget("record", a.Runner.Journal.Witness(act)) }

// keepsNone reports that a server does not know what a record is.
func keepsNone(err error) bool {
	var p *api.Problem
	return errors.As(err, &p) && (p.Status == http.StatusNotFound || p.Status == http.StatusMethodNotAllowed || p.Status == http.StatusNotImplemented)
}

// record asks for the last checkpoint of the record.
func (c *Central) record(ctx context.Context, instance string) (api.RecordAnchor, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var answer api.RecordAnchor
	resp, err := c.api.GetRecord(ctx, instance)
	_, err = c.call(resp, err, func(_ int, body []byte) error { return unmarshal(body, &answer) }, http.StatusOK)
	return answer, wrap("record", err)
}

func (c *Central) putRecord(ctx context.Context, instance string, part api.RecordRequest) (api.RecordAnchor, error) {
	ctx, cancel := context.WithTimeout(ctx, quickCall)
	defer cancel()
	var answer api.RecordAnchor
	resp, err := c.api.PutRecord(ctx, instance, part)
	_, err = c.call(resp, err, func(_ int, body []byte) error { return unmarshal(body, &answer) }, http.StatusOK)
	return answer, wrap("record", err)
}
