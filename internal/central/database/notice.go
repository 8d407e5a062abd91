package database

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is where notices go. PostgreSQL keeps channels of different databases apart.
const channel = "usbkey_central"

// Notify tells all who Listen on the same database. Where it is not shared there is nobody.
func (db *DB) Notify(ctx context.Context, notice string) error {
	if db.node != nil {
		return db.node.notify(notice)
	}
	if !db.Shared() {
		return nil
	}
	if _, err := db.Write.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, notice); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// Listen calls heard with each notice, on a connection of its own, until ctx is done
// or the connection is lost; it returns why. ready is called once notices arrive:
// what happened before may have been missed.
func (db *DB) Listen(ctx context.Context, ready func(), heard func(notice string)) error {
	if db.node != nil {
		return db.node.listen(ctx, ready, heard)
	}
	if !db.Shared() {
		<-ctx.Done()
		return ctx.Err()
	}
	config := db.server.with(nil)
	conn, err := pgx.ConnectConfig(ctx, &config)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // it is lost, or nobody needs it any more
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ready()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		heard(n.Payload)
	}
}
