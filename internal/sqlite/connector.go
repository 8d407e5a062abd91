package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"

	"modernc.org/sqlite"
)

// maxStatements bounds what one connection keeps: far more texts than there are in this program.
const maxStatements = 256

// Connector opens SQLite connections that keep their statements: the driver alone parses
// a text anew each time it is used, which costs more than to carry it out.
type Connector struct {
	// DSN is the file with its settings, as the driver takes it.
	DSN string
	// Apart carries statements out in a goroutine of the connection. SQLite wants a deep
	// stack, which a caller that waits afterwards, such as a long poll, would keep.
	Apart bool
	// Changes is told what is written; nil where nobody asks.
	Changes *Changes
}

// Connect implements driver.Connector.
func (c Connector) Connect(context.Context) (driver.Conn, error) {
	opened, err := (&sqlite.Driver{}).Open(c.DSN)
	if err != nil {
		return nil, err
	}
	inner, ok := opened.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver's connections have changed"), opened.Close())
	}
	out := &keeper{sqliteConn: inner, statements: make(map[string]kept), changes: c.Changes}
	if c.Apart {
		out.calls = make(chan func())
		go func() {
			for call := range out.calls {
				call()
			}
		}()
	}
	return out, nil
}

// Driver implements driver.Connector.
func (Connector) Driver() driver.Driver { return &sqlite.Driver{} }

// Lasting says that SQLite refused what a statement would write, and would again: it is too
// big, against a constraint or of a wrong type.
func Lasting(err error) bool {
	var said *sqlite.Error
	if !errors.As(err, &said) {
		return false
	}
	switch said.Code() & 0xff { // the low byte is the primary code, https://sqlite.org/rescode.html
	case 18, 19, 20: // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH
		return true
	}
	return false
}

// sqliteConn is what the driver's connections can do, all of which is handed on.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keeper is a connection with its statements, by their texts.
type keeper struct {
	sqliteConn
	statements map[string]kept
	calls      chan func() // nil where callers carry statements out themselves
	changes    *Changes    // nil where nobody asks
	inTx       bool
}

// kept is a statement, and the tables that it may change.
type kept struct {
	sqliteStatement
	writes []string
}

type sqliteStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// run carries out a call where it belongs.
func (k *keeper) run(call func()) {
	if k.calls == nil {
		call()
		return
	}
	done := make(chan struct{})
	k.calls <- func() {
		defer close(done)
		call()
	}
	<-done
}

// BeginTx implements driver.ConnBeginTx.
func (k *keeper) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := k.sqliteConn.BeginTx(ctx, opts)
	if err != nil || k.changes == nil {
		return tx, err
	}
	k.inTx = true
	return &counted{Tx: tx, keeper: k}, nil
}

// written notes what a text may change.
func (k *keeper) written(tables []string) {
	if k.changes == nil {
		return
	}
	k.changes.touch(tables)
	if !k.inTx {
		k.changes.publish()
	}
}

// get gives the statement of a text; without one it is to be carried out by its text.
func (k *keeper) get(ctx context.Context, text string) (kept, error) {
	if s, ok := k.statements[text]; ok {
		return s, nil
	}
	if len(k.statements) == maxStatements {
		return kept{writes: writtenBy(text)}, nil
	}
	prepared, err := k.PrepareContext(ctx, text)
	if err != nil {
		return kept{}, err
	}
	inner, ok := prepared.(sqliteStatement)
	if !ok {
		return kept{}, errors.Join(errors.New("the SQLite driver's statements have changed"), prepared.Close())
	}
	s := kept{inner, writtenBy(text)}
	k.statements[text] = s
	return s, nil
}

// ExecContext implements driver.ExecerContext.
func (k *keeper) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (res driver.Result, err error) {
	k.run(func() { res, err = k.exec(whole(ctx), text, args) })
	return res, err
}

func (k *keeper) exec(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 && text != savepoint && text != release {
		// Schema and settings; done once, and perhaps several statements in one text.
		defer k.written(writtenBy(text))
		return k.sqliteConn.ExecContext(ctx, text, args)
	}
	s, err := k.get(ctx, text)
	if err != nil {
		return nil, err
	}
	var res driver.Result
	if s.sqliteStatement == nil {
		res, err = k.sqliteConn.ExecContext(ctx, text, args)
	} else {
		res, err = s.ExecContext(ctx, args)
	}
	// Many look for a row to change and seldom find one.
	if err == nil && rows(res) == 0 {
		return res, nil
	}
	k.written(s.writes)
	return res, err
}

// rows is how many rows a statement has changed; -1 when that is not known.
func rows(res driver.Result) int64 {
	n, err := res.RowsAffected()
	if err != nil {
		return -1
	}
	return n
}

// QueryContext implements driver.QueryerContext. It reads all rows at once: callers do
// so too, and the statement is free again.
func (k *keeper) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (rows driver.Rows, err error) {
	k.run(func() { rows, err = k.query(whole(ctx), text, args) })
	return rows, err
}

func (k *keeper) query(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := k.get(ctx, text)
	if err != nil {
		return nil, err
	}
	defer k.written(s.writes)
	var rows driver.Rows
	if s.sqliteStatement == nil {
		rows, err = k.sqliteConn.QueryContext(ctx, text, args)
	} else {
		rows, err = s.QueryContext(ctx, args)
	}
	if err != nil {
		return nil, err
	}
	return readAll(rows)
}

// whole lets a statement that has begun come to its end: it is short, the driver would
// watch each with a goroutine, and SQLite undoes all of a transaction that it
// interrupts (sqlite3_interrupt). database/sql has looked at ctx just before.
func whole(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// Close implements driver.Conn.
func (k *keeper) Close() (err error) {
	k.run(func() {
		var errs []error
		for _, s := range k.statements {
			errs = append(errs, s.Close())
		}
		err = errors.Join(append(errs, k.sqliteConn.Close())...)
	})
	if k.calls != nil {
		close(k.calls)
	}
	return err
}

// readRows are rows that were read.
type readRows struct {
	columns []string
	rows    [][]driver.Value
}

func readAll(from driver.Rows) (driver.Rows, error) {
	out := &readRows{columns: from.Columns()}
	for {
		row := make([]driver.Value, len(out.columns))
		err := from.Next(row)
		switch {
		case errors.Is(err, io.EOF):
			return out, from.Close()
		case err != nil:
			return nil, errors.Join(err, from.Close())
		}
		out.rows = append(out.rows, row)
	}
}

// Columns implements driver.Rows.
func (r *readRows) Columns() []string { return r.columns }

// Next implements driver.Rows.
func (r *readRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

// Close implements driver.Rows.
func (r *readRows) Close() error { return nil }
