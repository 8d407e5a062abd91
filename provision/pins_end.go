package provision

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Kept is a finished token whose PINs the journal still has.
type Kept struct {
	JobID       string
	UnitID      string
	Generation  int
	TokenSerial pkcs11.TokenSerial
}

// KeptPINs lists up to limit finished tokens whose PINs are here and may go when the parcel
// has left, by job id from after the one given; empty begins. A PIN whose letter nobody has
// confirmed stays: without it nobody would know it any more.
func (j *Journal) KeptPINs(after string, limit int) ([]Kept, error) {
	rows, err := j.db.Query(`SELECT id, unit_id, generation, token_serial FROM job
		WHERE state = 'finished' AND json_extract(facts, '$.SOPINBox') IS NOT NULL AND id > $1
			AND (json_extract(facts, '$.Delivery') IS NOT $3 OR json_extract(facts, '$.Letters[#-1].State') = $4)
		ORDER BY id LIMIT $2`, after, limit, DeliverMailer, LetterConfirmed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	var out []Kept
	for rows.Next() {
		var k Kept
		if err := rows.Scan(&k.JobID, &k.UnitID, &k.Generation, &k.TokenSerial); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		out = append(out, k)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// DestroyPINs takes both PINs of a finished job out of the journal, with a record of
// it. Afterwards only the recipients of the envelopes can read them. The bytes are
// overwritten in the file; the file's log has them until Shred. What a disk keeps beside
// that is still encrypted with the journal's key. A job that is not finished, and one
// whose letter nobody has confirmed, is ErrJournal.
func (j *Journal) DestroyPINs(jobID, why string) error {
	return j.transact(crashpoint.JournalDestroy, func(tx *sql.Tx) error {
		rec, err := scanRecord(tx.QueryRow("SELECT "+recordColumns+" FROM job WHERE id = $1", jobID))
		if err != nil {
			return fmt.Errorf("job %s: %w", jobID, err)
		}
		if rec.State != StateFinished {
			return fmt.Errorf("job %s is %s: its PINs are still needed", jobID, rec.State)
		}
		if rec.Facts.Delivery == DeliverMailer && rec.Letter().State != LetterConfirmed {
			return fmt.Errorf("job %s: its letter is %s: its PINs are still needed", jobID, rec.Letter().State)
		}
		rec.Facts.forgetPINs()
		facts, err := json.Marshal(rec.Facts)
		if err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE job SET facts = $1, updated_at = $2 WHERE id = $3", string(facts), time.Now().UnixMilli(), jobID); err != nil {
			return err
		}
		act := about(rec, audit.KindPINDestroyed)
		name(act, "escrow", rec.Facts.EscrowID)
		return errors.Join(j.note(tx, rec, "PINs destroyed: "+why), witness(tx, act))
	})
}

// ErrBeingRead says that somebody reads the journal just now.
const ErrBeingRead = Sentinel("the journal is being read")

// Shred empties the file's log, in whose older pages destroyed PINs still are. It waits
// for nobody: ErrBeingRead when it has to be tried again.
func (j *Journal) Shred(ctx context.Context) (err error) {
	conn, err := j.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var busy, pages, moved int
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	_, restored := conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
	if err := errors.Join(err, restored); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	if busy != 0 {
		return ErrBeingRead
	}
	return nil
}

// forgetPINs leaves the envelopes, which nobody here can open.
func (f *Facts) forgetPINs() {
	f.SOPINBox, f.UserPINBox = nil, nil
	for i := range f.Letters {
		f.Letters[i].PINBox = nil
	}
}
