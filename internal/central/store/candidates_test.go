package store

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// What waits for other stations costs a claim nothing, even with a plan that PostgreSQL
// made when the tables were empty and keeps until it has counted them.
func TestSearchIsByIndex(t *testing.T) {
	s, _ := newStore(t, postgres(t))
	ctx := t.Context()
	conn, err := s.db.Write.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	const maxBlocks, maxUseless = 100, 100
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC).UnixMilli()
	search := fmt.Sprintf(`EXECUTE search ('READY', 'bay-2', %d, %d, 9, 'P')`, now-DefaultRules().HomeGrace.Milliseconds(), now)
	for _, setUp := range []string{
		`SET plan_cache_mode = force_generic_plan`,
		`PREPARE search (text, text, bigint, bigint, bigint, text) AS ` + candidates(1),
		search, // so that the plan is made
		`INSERT INTO stations (name, public_key_sha256, certificate, certificate_sha256, not_after, added_at)
			SELECT 's' || i, 'k' || i, '', 'c' || i, 0, 0 FROM generate_series(1, 1000) i`,
		fmt.Sprintf(`INSERT INTO sessions (station, session_id, instance_id, boot_id, version, slots, lease_ms, opened_at, seen_at)
			SELECT 's' || i, 's' || i, '', '', '', '', 0, 0, %d FROM generate_series(1, 1000) i`, now),
		`INSERT INTO orders (order_id, product_code, company, quantity, due_at, home_station, content, content_sha256, accepted_at)
			SELECT 'o' || i, 'P', '', 2, 8e12, CASE WHEN i > 500 THEN 's' || i END, '', '', 0 FROM generate_series(1, 1000) i`,
		`INSERT INTO units (unit_id, order_id, sequence, state, updated_at)
			SELECT 'o' || i || '-' || n, 'o' || i, n, 'READY', 0 FROM generate_series(1, 1000) i, generate_series(1, 2) n`,
	} {
		if _, err := conn.ExecContext(ctx, setUp); err != nil {
			t.Fatalf("%s: %v", setUp, err)
		}
	}
	var order string
	if err := conn.QueryRowContext(ctx, search).Scan(&order); err != nil || order != "ORD" {
		t.Errorf("found %q: %v", order, err)
	}
	var text string
	if err := conn.QueryRowContext(ctx, `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) `+search).Scan(&text); err != nil {
		t.Fatal(err)
	}
	// Blocks are told of the whole plan first, rows that did not fit of each of its nodes.
	blocks := numbers(t, text, `"Shared Hit Blocks": (\d+)`)[0]
	useless := 0
	for _, n := range numbers(t, text, `"Rows Removed by [A-Za-z ]+": (\d+)`) {
		useless += n
	}
	if blocks > maxBlocks || useless > maxUseless {
		t.Errorf("it looked at %d blocks and %d useless rows:\n%s", blocks, useless, text)
	}
}

func numbers(t *testing.T, text, pattern string) (out []int) {
	t.Helper()
	for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	if len(out) == 0 {
		t.Fatalf("no %s in %s", pattern, text)
	}
	return out
}
