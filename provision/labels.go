package provision

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Where labels come one at a time, a key's label is printed when its token is pulled, and
// nothing else may be pulled before somebody has scanned that label: then the only label
// that is not stuck on belongs to the only token that is not in a bay. Two tokens in the hand
// at once look alike, so both go back into their bays, which tells them apart again.

// LabelState is where the label of a finished key stands.
type LabelState string

// States of a label. They are written down, so they never change meaning.
const (
	LabelInBay   LabelState = "in-bay"  // its token has not been pulled
	LabelPulled  LabelState = "pulled"  // it is to be printed now
	LabelPrinted LabelState = "printed" // it is to be stuck on, and scanned
	LabelMixed   LabelState = "mixed"   // another token was pulled meanwhile
	LabelStuck   LabelState = "stuck"   // somebody has scanned it on its token
	LabelAside   LabelState = "aside"   // somebody has put the token aside for good
)

// Label is that of a finished key.
type Label struct {
	Record *Record
	State  LabelState
	Since  time.Time
	Says   string
	// seen is when the last look that could have shown the token began, if another one was
	// loose by then.
	seen time.Time
}

// Loose reports that the token is in somebody's hand, with no label that counts.
func (l Label) Loose() bool {
	return l.State == LabelPulled || l.State == LabelPrinted || l.State == LabelMixed
}

// Labels are those that are neither stuck on nor aside, in the order in which their jobs began,
// which is that of the bays, order by order.
func (j *Journal) Labels() ([]Label, error) {
	labels, err := openLabels(j.db)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return labels, nil
}

func openLabels(db reader) ([]Label, error) {
	const open = "state NOT IN ('stuck', 'aside')"
	rows, err := db.Query("SELECT job_id, state, since, says, seen_at FROM label WHERE " + open)
	if err != nil {
		return nil, err
	}
	byJob := map[string]Label{}
	for rows.Next() {
		var job string
		var l Label
		var since, seen int64
		if err := rows.Scan(&job, &l.State, &since, &l.Says, &seen); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		l.Since, l.seen = time.UnixMilli(since), time.UnixMilli(seen)
		byJob[job] = l
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(byJob) == 0 {
		return nil, err
	}
	records, err := jobsIn(db, "id IN (SELECT job_id FROM label WHERE "+open+")")
	if err != nil {
		return nil, err
	}
	out := make([]Label, len(records))
	for i, r := range records {
		out[i] = byJob[r.Job.ID]
		out[i].Record = r
	}
	return out, nil
}

// beginLabel makes the row of a key that is finished, where its label comes when it is pulled. A
// token that has no serial of its own cannot be known again, nor scanned.
func beginLabel(tx *sql.Tx, rec *Record) error {
	if id := rec.Token.Identity; !rec.Job.OneAtATime || id.Serial == "" || id.SlotDescription != "" {
		return nil
	}
	_, err := tx.Exec("INSERT INTO label (job_id, state, since, says) VALUES ($1, $2, $3, '')", rec.Job.ID, LabelInBay, rec.UpdatedAt.UnixMilli())
	return err
}

// Sight is what a look at a module has shown of a finished key's token.
type Sight int

// Sights.
const (
	Unseen   Sight = iota // nothing was learned about it
	Absent                // it is in no bay
	Present               // it is in a bay
	Verified              // it is in a bay, and has shown its certificate
)

// sighted is what follows for all labels from a look, in which each has a sight: a token that
// is out of sight was pulled, one that was put back waits in its bay again, and more than one
// without a label that counts is a mix-up of them all. A mixed one has to show its certificate.
func sighted(labels []Label, sight func(*Record) Sight) []Label {
	out := slices.Clone(labels)
	loose := 0
	for i, l := range out {
		switch seen := sight(l.Record); {
		case seen == Absent && l.State == LabelInBay:
			out[i].State = LabelPulled
		case seen == Verified, seen == Present && (l.State == LabelPulled || l.State == LabelPrinted):
			out[i].State = LabelInBay
		}
		if out[i].Loose() {
			loose++
		}
	}
	for i := range out {
		if loose > 1 && out[i].Loose() {
			out[i].State = LabelMixed
		}
	}
	return out
}

// Sighted notes what a look that began then has shown. It returns the labels as they are now,
// and whether any is another than before.
func (j *Journal) Sighted(begun, now time.Time, sight func(*Record) Sight) (labels []Label, changed bool, err error) {
	err = j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		before, err := openLabels(tx)
		if err != nil {
			return err
		}
		labels, changed = sighted(before, sight), false
		loose := slices.ContainsFunc(labels, Label.Loose)
		for i, l := range labels {
			if loose && sight(l.Record) != Unseen {
				if _, err := tx.Exec("UPDATE label SET seen_at = $1 WHERE job_id = $2", begun.UnixMilli(), l.Record.Job.ID); err != nil {
					return err
				}
			}
			if l.State == before[i].State {
				continue
			}
			changed = true
			labels[i].Since, labels[i].Says = now, ""
			if err := setLabel(tx, labels[i]); err != nil {
				return err
			}
			if l.State == LabelMixed || before[i].State == LabelMixed {
				if err := witness(tx, labelAct(l.Record, l.State, "")); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return labels, changed, err
}

func setLabel(tx *sql.Tx, l Label) error {
	_, err := tx.Exec("UPDATE label SET state = $1, since = $2, says = $3 WHERE job_id = $4", l.State, l.Since.UnixMilli(), l.Says, l.Record.Job.ID)
	return err
}

// labelAct is a label's entry in the record; by is "" where the daemon acts by itself.
func labelAct(rec *Record, what LabelState, by string) audit.Entry {
	act := about(rec, audit.KindLabel)
	act.Code = string(what)
	if by != "" {
		act = actedBy(act, by)
	}
	return act
}

// LabelSent notes that a key's label was handed to the printer, for a person or, with by "",
// because the token was pulled. A label holds no secret, so that it may be printed as often
// as somebody wants it; each time is on record.
func (j *Journal) LabelSent(rec *Record, by, says string, now time.Time) error {
	return j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE label SET state = $1, since = $2, says = $3 WHERE job_id = $4 AND state IN ($5, $1)",
			LabelPrinted, now.UnixMilli(), says, rec.Job.ID, LabelPulled)
		return errors.Join(err, witness(tx, labelAct(rec, LabelPrinted, by)))
	})
}

// LabelNotSent notes why a label that is to be printed was not.
func (j *Journal) LabelNotSent(rec *Record, says string) error {
	return j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE label SET says = $1 WHERE job_id = $2 AND state = $3", says, rec.Job.ID, LabelPulled)
		return err
	})
}

// ConfirmLabel takes the scan of a label that was just stuck on. Anything but the one label
// that is waited for is a *LabelRefusal; and that one, too, while another token may have been
// pulled that no look has missed yet, for then it may be that one which has the label.
func (j *Journal) ConfirmLabel(serial, by string, now time.Time) (*Record, error) {
	return j.settleLabel(serial, by, now, LabelStuck, func(l Label, waited, unseen *Label) error {
		switch l.State {
		case LabelPrinted:
			if unseen != nil {
				return refuseLabel(LabelUnseen, "The token %s in %s has not been looked for since the label was printed: leave it in its bay, and scan the label again in a moment.",
					unseen.Record.Token.Identity.Serial, unseen.Record.Token.Module)
			}
			return nil
		case LabelPulled:
			return refuseLabel(LabelUnprinted, "The label of %s is not printed yet: wait for it, and stick it on.", serial)
		case LabelMixed:
			return refuseLabel(LabelMixedUp, "More than one token was pulled: put %s and the others back into their bays, and take them out one at a time.", serial)
		}
		if waited != nil {
			return refuseLabel(LabelWrong, "Wrong label: that of %s is waited for, and %s is in its bay.", waited.Record.Token.Identity.Serial, serial)
		}
		return refuseLabel(LabelTokenInBay, "The token %s is in its bay: take it out first.", serial)
	})
}

// SetLabelAside takes the token of a unit out of the count that cannot be put back, because
// it is broken or lost, or cannot be looked for any more. Its unit is not packed. *LabelRefusal.
func (j *Journal) SetLabelAside(serial, by string, now time.Time) (*Record, error) {
	return j.settleLabel(serial, by, now, LabelAside, func(l Label, _, unseen *Label) error {
		if !l.Loose() && (unseen == nil || unseen.Record.Job.ID != l.Record.Job.ID) {
			return refuseLabel(LabelTokenInBay, "The token %s is in its bay.", serial)
		}
		return nil
	})
}

// settleLabel brings the label with a token's serial to its end, if allowed says nothing
// against it; waited is the one that is to be stuck on now, and unseen one whose token has not
// been looked for since, nil for none.
func (j *Journal) settleLabel(serial, by string, now time.Time, end LabelState, allowed func(l Label, waited, unseen *Label) error) (rec *Record, err error) {
	var refused *LabelRefusal
	err = j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		refused = nil
		labels, err := openLabels(tx)
		if err != nil {
			return err
		}
		var found, waited *Label
		for i, l := range labels {
			if string(l.Record.Token.Identity.Serial) == serial && (found == nil || l.Loose()) {
				found = &labels[i]
			}
			if l.State == LabelPulled || l.State == LabelPrinted {
				waited = &labels[i]
			}
		}
		switch {
		case found != nil:
			err = allowed(*found, waited, unseenSince(labels, waited, serial))
		case waited != nil:
			err = refuseLabel(LabelWrong, "Wrong label: that of %s is waited for, and %q was scanned.", waited.Record.Token.Identity.Serial, serial)
		default:
			err = refuseLabel(LabelUnknown, "no label of %q waits to be confirmed; see usbkeyd labels list", serial)
		}
		if err != nil {
			errors.As(err, &refused)
			return err
		}
		rec = found.Record
		found.State, found.Since, found.Says = end, now, ""
		return errors.Join(setLabel(tx, *found), witness(tx, labelAct(rec, end, by)))
	})
	if refused != nil {
		return nil, refused
	}
	return rec, err
}

// unseenSince is a label whose token should be in a bay, and has not been looked for since the
// one that is waited for came to be so; that with the serial first, nil for none.
func unseenSince(labels []Label, waited *Label, serial string) (unseen *Label) {
	for i, l := range labels {
		if waited == nil || l.State != LabelInBay || !l.seen.Before(waited.Since) {
			continue
		}
		if unseen == nil || string(l.Record.Token.Identity.Serial) == serial {
			unseen = &labels[i]
		}
	}
	return unseen
}

// LabelFault classes what is wrong with the scan of a label.
type LabelFault string

// Faults.
const (
	LabelWrong      LabelFault = "wrong"     // another label is waited for
	LabelUnprinted  LabelFault = "unprinted" // it is not printed yet
	LabelUnseen     LabelFault = "unseen"    // another may have been taken out besides, which no look has shown
	LabelMixedUp    LabelFault = "mixed"     // more than one token is out of its bay
	LabelTokenInBay LabelFault = "in-bay"    // its token has not been taken out
	LabelUnknown    LabelFault = "unknown"   // none is waited for
)

// LabelRefusal says why a label is not taken as stuck on. Its text is a sentence for the
// person who scans.
type LabelRefusal struct {
	Fault LabelFault
	Says  string
}

// Error implements error.
func (r *LabelRefusal) Error() string { return r.Says }

func refuseLabel(fault LabelFault, format string, args ...any) error {
	return &LabelRefusal{fault, fmt.Sprintf(format, args...)}
}

// EndLabels forgets the labels that are open, where labels no longer come one at a time: their
// keys are labelled like all others.
func (j *Journal) EndLabels() error {
	return j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		_, err := tx.Exec("DELETE FROM label WHERE state NOT IN ('stuck', 'aside')")
		return err
	})
}

// labelStuck reports whether nothing about its label keeps a key from being packed.
func labelStuck(db reader, job string) (bool, error) {
	var state LabelState
	err := db.QueryRow("SELECT state FROM label WHERE job_id = $1", job).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return state == LabelStuck, err
}

// Labelled are the finished keys that a code means: that of an order, a unit or a token, in
// the order of the bays in which they were made. Of a unit the last job counts.
func (j *Journal) Labelled(code string) ([]*Record, error) {
	return j.jobs(`state = $1 AND (unit_id = $2 OR token_serial = $2 OR json_extract(job, '$.Subject.OrderID') = $2)
		AND rowid = (SELECT max(rowid) FROM job last WHERE last.unit_id = job.unit_id)`, StateFinished, code)
}

// VerifyKey reads a token that was put back, and compares it with what was installed.
func VerifyKey(ctx context.Context, borrow Borrow, rec *Record) error {
	return borrow(ctx, rec.Token.Module, func(m pkcs11.Module) error { return readKey(ctx, m, rec) })
}
