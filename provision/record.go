package provision

import (
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// The station's record is in the journal's file, so that an act is in the record
// exactly when it is in the journal.

// Witness adds acts of the station itself to the record.
func (j *Journal) Witness(acts ...audit.Entry) error {
	return j.transact(crashpoint.JournalRecord, func(tx *sql.Tx) error { return witness(tx, acts...) })
}

// witness adds acts to the record, in the transaction in which they are journalled.
func witness(tx *sql.Tx, acts ...audit.Entry) error {
	for _, act := range acts {
		act.Time = time.Now()
		if _, err := (audit.Log{Storage: recordRows{tx}}).Append(act); err != nil {
			return err
		}
	}
	return nil
}

// recordRows is the record as audit.Storage.
type recordRows struct {
	db interface {
		QueryRow(query string, args ...any) *sql.Row
		Exec(query string, args ...any) (sql.Result, error)
	}
}

// Size implements audit.Storage.
func (r recordRows) Size() (n int64, err error) {
	return n, r.db.QueryRow("SELECT COALESCE(MAX(n) + 1, 0) FROM record").Scan(&n)
}

// Hashes implements audit.Storage.
func (r recordRows) Hashes(n int64) (hashes []byte, err error) {
	err = r.db.QueryRow("SELECT hashes FROM record WHERE n = $1", n).Scan(&hashes)
	if errors.Is(err, sql.ErrNoRows) {
		err = &audit.BrokenError{Index: n, What: "it is missing"}
	}
	return hashes, err
}

// Add implements audit.Storage.
func (r recordRows) Add(n int64, line, hashes []byte) error {
	_, err := r.db.Exec("INSERT INTO record (n, line, hashes) VALUES ($1, $2, $3)", n, string(line), hashes)
	return err
}

// RecordSize is how many acts the record has.
func (j *Journal) RecordSize() (int64, error) {
	n, err := recordRows{j.db}.Size()
	return n, recordFailed(err)
}

// Checkpoint is what the record was like when it had size acts; its origin is left to
// whoever knows the station. A record that lacks a row is an audit.ErrBroken.
func (j *Journal) Checkpoint(size int64) (audit.Checkpoint, error) {
	root, err := (audit.Log{Storage: recordRows{j.db}}).Root(size)
	return audit.Checkpoint{Size: size, Root: root}, recordFailed(err)
}

// recordPage is how many rows are read at a time, so that a job that writes meanwhile
// does not wait for long.
const recordPage = 500

// RecordRows returns up to max rows of the record from one on.
func (j *Journal) RecordRows(from int64, max int) ([]audit.Row, error) {
	rows, err := j.db.Query("SELECT line, hashes FROM record WHERE n >= $1 ORDER BY n LIMIT $2", from, max)
	if err != nil {
		return nil, recordFailed(err)
	}
	var out []audit.Row
	for rows.Next() {
		var r audit.Row
		if err := rows.Scan(&r.Line, &r.Hashes); err != nil {
			return nil, errors.Join(recordFailed(err), rows.Close())
		}
		out = append(out, r)
	}
	return out, errors.Join(recordFailed(rows.Err()), rows.Close())
}

// Record goes through the record from its RecordBase on.
func (j *Journal) Record() iter.Seq2[audit.Row, error] {
	return func(yield func(audit.Row, error) bool) {
		base, err := j.RecordBase()
		if err != nil {
			yield(audit.Row{}, err)
			return
		}
		for from := base.Size; ; from += recordPage {
			rows, err := j.RecordRows(from, recordPage)
			if err != nil {
				yield(audit.Row{}, err)
				return
			}
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
			if len(rows) < recordPage {
				return
			}
		}
	}
}

// Anchor returns the last checkpoint that the central server has signed too, a signed
// note; nil when there is none yet.
func (j *Journal) Anchor() (note []byte, err error) {
	err = j.db.QueryRow("SELECT note FROM anchor").Scan(&note)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return note, recordFailed(err)
}

// SetAnchor keeps such a checkpoint in the place of the last one.
func (j *Journal) SetAnchor(note []byte) error {
	return j.transact(crashpoint.JournalAnchor, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO anchor (id, note) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET note = excluded.note", string(note))
		return err
	})
}

// recordFailed tells a file that cannot be read from a record that is broken.
func recordFailed(err error) error {
	if err == nil || errors.Is(err, audit.ErrBroken) {
		return err
	}
	return fmt.Errorf("%w: record: %w", ErrJournal, err)
}

// Started records the start of the daemon with a configuration, by its SHA-256, and says
// whether that is another one than at the start before. tier is where the station's key is.
func (j *Journal) Started(configuration, version, tier string) (changed bool, err error) {
	act := audit.Entry{Kind: audit.KindStart, Hashes: map[string]string{"configuration": configuration}, IDs: map[string]string{"version": strings.Join(strings.Fields(version), "-"), "identity": tier}}
	err = j.transact(crashpoint.JournalRecord, func(tx *sql.Tx) error {
		// A line that was edited need not be JSON; that is found out later.
		var line []byte
		err := tx.QueryRow("SELECT line FROM record WHERE instr(line, $1) OR instr(line, $2) ORDER BY n DESC LIMIT 1",
			kindField(audit.KindStart), kindField(audit.KindConfigChange)).Scan(&line)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		before, _ := audit.Decode(line)
		last, here := before.Hashes["configuration"]
		if !here {
			if err := tx.QueryRow("SELECT configuration FROM record_base").Scan(&last); err != nil {
				return err
			}
		}
		if changed = last != configuration; changed {
			act.Kind = audit.KindConfigChange
		}
		return witness(tx, act)
	})
	return changed, err
}

// kindField is how a kind stands in a line.
func kindField(kind audit.Kind) string { return `"kind":"` + string(kind) + `"` }

// earlier records the tokens that were finished before this station kept a record, so
// that they too can be packed. It is part of the schema's step.
func earlier(tx *sql.Tx) error {
	rows, err := tx.Query("SELECT " + recordColumns + " FROM job WHERE state = 'finished' ORDER BY rowid")
	if err != nil {
		return err
	}
	var acts []audit.Entry
	for rows.Next() {
		rec, err := scanRecord(rows)
		if err != nil {
			return errors.Join(err, rows.Close())
		}
		act := ended(rec, nil)
		act.Code = "before-the-record"
		acts = append(acts, act)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	return witness(tx, acts...)
}

// about is an act of a job.
func about(rec *Record, kind audit.Kind) audit.Entry {
	act := audit.Entry{
		Kind: kind, Unit: rec.Job.UnitID(), Generation: rec.Job.Generation, Epoch: rec.Epoch, Job: rec.Job.ID, Step: string(rec.Step),
		IDs: map[string]string{}, Hashes: map[string]string{},
	}
	// What a module shows as a serial may be anything.
	if serial := string(rec.Token.Identity.Serial); audit.IsTokenSerial(serial) {
		act.TokenSerial = serial
	} else if serial != "" {
		act.Hashes["tokenSerial"] = sha256hex([]byte(serial))
	}
	return act
}

// intended is the act that a note of the journal stands for. Notes are names of steps,
// but for what the agent and tests write beside them.
func intended(rec *Record, note string) audit.Entry {
	f := rec.Facts
	act := about(rec, audit.KindStep)
	switch {
	case note == "claimed":
		act.Kind = audit.KindLease
	case rec.State == StateParked:
		act.Kind, act.Code = audit.KindParked, string(rec.Waiting)
		if code, ok := strings.CutPrefix(note, "alarm "); ok {
			act.Code = code
		}
	case rec.State != StateRunning:
	case rec.Step == StepCheckBlank:
		act.Kind = audit.KindLogin
	case rec.Step == StepEscrowSOPIN, rec.Step == StepNameEscrow:
		act.Kind = audit.KindEscrow
		hash(act, "soPinEnvelope", f.SOPINEnvelope)
	case rec.Step == StepSetSOPIN, rec.Step == StepSetUserPIN, rec.Step == StepSetFirstPIN:
		act.Kind = audit.KindPINSet
		if rec.Step == StepSetUserPIN {
			hash(act, "userPinEnvelope", f.UserPINEnvelope)
		}
	case rec.Step == StepBindCSR:
		act.Kind = audit.KindCertificateBound
		hash(act, "csr", f.CSR)
		hash(act, "publicKey", f.PublicKey)
	case rec.Step == StepInitialise, rec.Step == StepGenerateKey, rec.Step == StepInstall, rec.Step == StepWipe:
		act.Kind = audit.KindTokenWrite
		if rec.Step == StepInstall {
			act.Hashes["certificate"] = f.CertificateSHA256
		}
	}
	name(act, "escrow", f.EscrowID)
	name(act, "keyId", f.KeyID.String())
	return act
}

// letterAct is an act about a finished job's letter; code says how far it went.
func letterAct(rec *Record, kind audit.Kind, code, by string) audit.Entry {
	act := about(rec, kind)
	act.Code = code
	person(act, "by", by)
	return act
}

// person names somebody in an act, whose id may have a form that an entry has no room for.
func person(act audit.Entry, what, id string) {
	if audit.IsID(id) {
		act.IDs[what] = id
	} else {
		hash(act, what, []byte(id))
	}
}

// ended is the act that a job's end stands for.
func ended(rec *Record, report *Report) audit.Entry {
	f := rec.Facts
	act := about(rec, audit.KindGivenUp)
	switch {
	case rec.State == StateFinished:
		act.Kind = audit.KindInstalled
	case report == nil: // the unit is somebody else's
		act.Code = string(rec.State)
	case report.Kind == ReportRelease:
		act.Kind, act.Code = audit.KindReleased, string(report.Release)
	default:
		act.Code = string(report.Outcome)
	}
	hash(act, "soPinEnvelope", f.SOPINEnvelope)
	hash(act, "userPinEnvelope", f.UserPINEnvelope)
	hash(act, "publicKey", f.PublicKey)
	if f.CertificateSHA256 != "" {
		act.Hashes["certificate"] = f.CertificateSHA256
	}
	name(act, "escrow", f.EscrowID)
	name(act, "keyId", f.KeyID.String())
	name(act, "certificateSerial", f.CertificateSerial)
	return act
}

func name(act audit.Entry, what, id string) {
	if id != "" {
		act.IDs[what] = id
	}
}

func hash(act audit.Entry, what string, content []byte) {
	if len(content) > 0 {
		act.Hashes[what] = sha256hex(content)
	}
}
