package provision

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/stock"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The stock of delivered tokens is in the journal's file, beside the jobs that use
// them up, so that an intake is there exactly when the record has it.

// StockState says what has become of a delivered token.
type StockState string

// States of a delivered token, by the last job that had it.
const (
	StockBlank       StockState = "blank"       // no job has written it
	StockAtWork      StockState = "at-work"     // a job has it now
	StockWritten     StockState = "written"     // a unit is on it
	StockQuarantined StockState = "quarantined" // a person has to decide
	StockRefused     StockState = "refused"     // its factory SO PIN did not open it
)

// StockToken is a delivered token with what has become of it.
type StockToken struct {
	stock.Token
	State StockState `json:"state"`
	// Unit is the last unit that it was meant for, "" for none.
	Unit    string    `json:"unitId,omitempty"`
	TakenBy string    `json:"takenBy"`
	TakenAt time.Time `json:"takenAt"`
}

// StockLot is a lot of delivered tokens.
type StockLot struct {
	Lot       string `json:"lot"`
	Model     string `json:"model"`
	Delivered int    `json:"delivered"`
	// States counts the lot's tokens by what has become of them.
	States map[StockState]int `json:"states"`
}

// ErrTakenIn says that a list was taken in before.
const ErrTakenIn Sentinel = "this list was taken in before"

// TakeIn adds a list to the stock, by a person, all of it or nothing. A serial or casing
// number that is in stock already, and a lot that is there with another model, is a
// *stock.RowError; the same file again ErrTakenIn.
func (j *Journal) TakeIn(list *stock.List, by string, at time.Time) error {
	first := list.Tokens[0]
	act := audit.Entry{Kind: audit.KindIntake, IDs: map[string]string{"by": by, "lot": first.Lot, "tokens": fmt.Sprint(len(list.Tokens))}, Hashes: map[string]string{"list": list.SHA256}}
	var refused error
	err := j.transact(crashpoint.JournalRecord, func(tx *sql.Tx) (err error) {
		if refused, err = refusedList(tx, list); err != nil || refused != nil {
			return errors.Join(refused, err)
		}
		_, err = tx.Exec("INSERT INTO delivery (sha256, lot, model, taken_by, taken_at) VALUES ($1, $2, $3, $4, $5)", list.SHA256, first.Lot, first.Model, by, at.UnixMilli())
		if err != nil {
			return err
		}
		for _, t := range list.Tokens {
			if _, err := tx.Exec("INSERT INTO stock (token_serial, casing_number, delivery) VALUES ($1, $2, $3)", t.Serial, t.Casing, list.SHA256); err != nil {
				return err
			}
		}
		return witness(tx, act)
	})
	if refused != nil {
		return refused
	}
	return err
}

// refusedList says why a list cannot be taken in beside what is in stock.
func refusedList(tx *sql.Tx, list *stock.List) (refused, err error) {
	first := list.Tokens[0]
	var by string
	var at int64
	switch err := tx.QueryRow("SELECT taken_by, taken_at FROM delivery WHERE sha256 = $1", list.SHA256).Scan(&by, &at); {
	case err == nil:
		return fmt.Errorf("%w, by %s at %s: its tokens are in stock", ErrTakenIn, by, day(at)), nil
	case !errors.Is(err, sql.ErrNoRows):
		return nil, err
	}
	var model string
	switch err := tx.QueryRow("SELECT model FROM delivery WHERE lot = $1 AND model <> $2", first.Lot, first.Model).Scan(&model); {
	case err == nil:
		return list.Fault(0, stock.FieldModel, "it says %s, and lot %s is in stock as %s: ask the supplier", first.Model, first.Lot, model), nil
	case !errors.Is(err, sql.ErrNoRows):
		return nil, err
	}
	for n, t := range list.Tokens {
		for _, c := range []struct {
			field         stock.Field
			column, value string
		}{{stock.FieldSerial, "token_serial", t.Serial}, {stock.FieldCasing, "casing_number", t.Casing}} {
			var serial, lot string
			err := tx.QueryRow("SELECT s.token_serial, d.lot, d.taken_by, d.taken_at FROM stock s JOIN delivery d ON d.sha256 = s.delivery WHERE s."+c.column+" = $1", c.value).Scan(&serial, &lot, &by, &at) // #nosec G202 -- the column is one of the two above
			switch {
			case err == nil:
				return list.Fault(n, c.field, "%s is in stock already, with token serial %s of lot %s, taken in by %s at %s: look at the token, and ask the supplier", c.value, serial, lot, by, day(at)), nil
			case !errors.Is(err, sql.ErrNoRows):
				return nil, err
			}
		}
	}
	return nil, nil
}

func day(millis int64) string { return time.UnixMilli(millis).Format("2006-01-02 15:04") }

// Delivered is the serial under which a token is on the list of delivered ones, "" for one
// that is not there. With DeliveredOnly that one is an ErrNotDelivered.
func (r *Runner) Delivered(info pkcs11.TokenInfo) (pkcs11.TokenSerial, error) {
	switch err := r.Journal.delivered(info); {
	case err == nil:
		return info.Serial, nil
	case errors.Is(err, ErrNotDelivered) && !r.DeliveredOnly:
		return "", nil
	default:
		return "", err
	}
}

// delivered is nil when a token is on the list, with the model that it shows.
// ErrNotDelivered says what is wrong.
func (j *Journal) delivered(info pkcs11.TokenInfo) error {
	if info.Serial == "" {
		return fmt.Errorf("%w: it shows no serial before it is initialised, so it cannot be looked up", ErrNotDelivered)
	}
	var model, lot string
	err := j.db.QueryRow("SELECT d.model, d.lot FROM stock s JOIN delivery d ON d.sha256 = s.delivery WHERE s.token_serial = $1", string(info.Serial)).Scan(&model, &lot)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: serial %s", ErrNotDelivered, info.Serial)
	case err != nil:
		return fmt.Errorf("%w: stock: %w", ErrJournal, err)
	case model != info.Model:
		return fmt.Errorf("%w: serial %s was delivered in lot %s as model %q, and the token shows %q", ErrNotDelivered, info.Serial, lot, model, info.Model)
	}
	return nil
}

// KnowsToken reports whether a token is on the list of delivered ones, by the serial that
// it came with or by the one that its job gave it.
func (j *Journal) KnowsToken(serial pkcs11.TokenSerial, model string) (bool, error) {
	switch err := j.delivered(pkcs11.TokenInfo{Serial: serial, Model: model}); {
	case err == nil:
		return true, nil
	case !errors.Is(err, ErrNotDelivered):
		return false, err
	case serial == "":
		return false, nil
	}
	found, err := j.jobs("token_serial = $1 AND json_extract(facts, '$.DeliveredAs') IS NOT NULL", string(serial))
	return len(found) > 0, err
}

// Stock returns the delivered tokens, those of a lot or of all ("") by lot and serial.
func (j *Journal) Stock(lot string) ([]StockToken, error) {
	return j.stock("$1 = '' OR d.lot = $1", lot)
}

// CountStock counts the delivered tokens, and those of them that are blank.
func (j *Journal) CountStock() (all, blank int, err error) {
	err = j.db.QueryRow(`SELECT COUNT(*), COUNT(*) FILTER (WHERE COALESCE(job.state, 'failed') = 'failed' AND NOT (
			COALESCE(json_extract(job.facts, '$.FactoryTried'), 0) AND NOT COALESCE(json_extract(job.facts, '$.Factory'), 0)))
		FROM stock s
		LEFT JOIN job ON job.rowid = (SELECT MAX(last.rowid) FROM job last WHERE json_extract(last.facts, '$.DeliveredAs') = +s.token_serial)`).Scan(&all, &blank)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: stock: %w", ErrJournal, err)
	}
	return all, blank, nil
}

// Lots counts tokens, which come by lot.
func Lots(tokens []StockToken) []StockLot {
	rows := []StockLot{}
	for _, t := range tokens {
		i := slices.IndexFunc(rows, func(r StockLot) bool { return r.Lot == t.Lot })
		if i < 0 {
			i = len(rows)
			rows = append(rows, StockLot{Lot: t.Lot, Model: t.Model, States: map[StockState]int{}})
		}
		rows[i].Delivered++
		rows[i].States[t.State]++
	}
	return rows
}

// StockToken returns one delivered token by its serial; nil when it is not on the list.
func (j *Journal) StockToken(serial string) (*StockToken, error) {
	all, err := j.stock("s.token_serial = $1", serial)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func (j *Journal) stock(where, arg string) ([]StockToken, error) {
	// The plus takes the column's affinity away, with which the index would not be used.
	rows, err := j.db.Query(`SELECT s.token_serial, s.casing_number, d.lot, d.model, d.taken_by, d.taken_at,
			CASE WHEN json_extract(job.facts, '$.Decision.Released') IS NULL THEN COALESCE(job.state, '') ELSE '' END, COALESCE(job.unit_id, ''),
			COALESCE(json_extract(job.facts, '$.FactoryTried'), 0) AND NOT COALESCE(json_extract(job.facts, '$.Factory'), 0)
		FROM stock s JOIN delivery d ON d.sha256 = s.delivery
		LEFT JOIN job ON job.rowid = (SELECT MAX(last.rowid) FROM job last WHERE json_extract(last.facts, '$.DeliveredAs') = +s.token_serial)
		WHERE `+where+` ORDER BY d.lot, s.token_serial`, arg) // #nosec G202 -- conditions are written here, values are parameters
	if err != nil {
		return nil, fmt.Errorf("%w: stock: %w", ErrJournal, err)
	}
	var out []StockToken
	for rows.Next() {
		var t StockToken
		var at int64
		var state State
		var inVain bool
		if err := rows.Scan(&t.Serial, &t.Casing, &t.Lot, &t.Model, &t.TakenBy, &at, &state, &t.Unit, &inVain); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: stock: %w", ErrJournal, err), rows.Close())
		}
		t.TakenAt, t.State = time.UnixMilli(at), stockState(state, inVain)
		out = append(out, t)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// stockState is what has become of a token, by the state of the last job that had it.
func stockState(last State, inVain bool) StockState {
	switch {
	case last == StateFinished:
		return StockWritten
	case last == StateQuarantined:
		return StockQuarantined
	case last == StateFailed && inVain:
		return StockRefused
	case last == "" || last == StateFailed:
		return StockBlank
	}
	return StockAtWork
}

// StockOf returns the delivered token that a token is, by the serial that it came with or by
// the one that its job gave it; nil when it is on no list with that model.
func (j *Journal) StockOf(serial pkcs11.TokenSerial, model string) (*StockToken, error) {
	if serial == "" {
		return nil, nil
	}
	t, err := j.StockToken(string(serial))
	if err != nil || t != nil && t.Model == model {
		return t, err
	}
	jobs, err := j.jobs("token_serial = $1 AND json_extract(facts, '$.DeliveredAs') IS NOT NULL", string(serial))
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	return j.StockToken(string(jobs[len(jobs)-1].Facts.DeliveredAs))
}
