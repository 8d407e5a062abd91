package console

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// shelf is what a test has written down.
type shelf struct {
	mu     sync.Mutex
	orders map[string]*Order
	finds  map[string]Finds
	day    Day
	err    error
	asked  int
}

func (s *shelf) Order(id string) (*Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.orders[id], s.err
}

func (s *shelf) Find(code string) (Finds, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finds[code], s.err
}

func (s *shelf) Day(from, to time.Time) (Day, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := Day{Left: s.day.Left}
	for _, e := range s.day.Ends {
		if !e.At.Before(from) && e.At.Before(to) {
			d.Ends = append(d.Ends, e)
		}
	}
	return d, s.err
}

func (s *shelf) arrange(change func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// sampleBooks have an order of three keys: one that was sent, one that waits, one elsewhere;
// what it is found by, more than can be shown for "SF", and a morning's work.
func sampleBooks() *shelf {
	o := &Order{ID: "P-1001", Company: "示例客车配件有限公司", Product: "CERT272353", Due: noon.Add(30 * time.Hour), Urgent: true, Units: []Unit{
		{ID: "P-1001-001", Job: "P-1001-001-g1-1", Sequence: 1, Of: 3, State: "finished", Token: "A1B2C3D4", Casing: "KX-0001", Waybill: "SF123456789012", Record: 1234, Signed: true,
			Certificate: &Certificate{Serial: "0a1b2c", Subject: "CN=示例客车配件有限公司,C=CN", NotBefore: noon, NotAfter: noon.AddDate(1, 0, 0), SHA256: strings.Repeat("ab", 32), Key: strings.Repeat("cd", 32)}},
		{ID: "P-1001-002", Job: "P-1001-002-g1-2", Sequence: 2, Of: 3, State: "parked", Step: "generate-key", Waiting: "token", Hint: "Put the token back.", Reason: "generate-key: <b>token removed</b>", Token: "A1B2C3D5", Record: -1},
		{ID: "P-1001-003", Sequence: 3, Of: 3, State: "elsewhere", Record: -1},
	}}
	for i, a := range []Event{
		{What: EventTold, Step: "shipment", Text: "SHIPPED"}, {What: EventPacking, Step: "closed", By: "packer.b"}, {What: EventPacking, Step: "waybill", By: "packer.b", Text: "SF123456789012"},
		{What: EventConfirmed, By: "mailer.c"}, {What: EventPrinted, By: "mailer.c"}, {What: EventEnded, Text: "finished"}, {What: EventParked, Step: "generate-key"},
		{What: EventStep, Step: "initialise"}, {What: EventClaimed},
	} {
		a.At, a.Unit = noon.Add(-time.Duration(i)*time.Minute), 1
		o.History = append(o.History, a)
	}
	hit := Hit{By: "token", Order: "P-1001", Unit: "P-1001-001", Sequence: 1, Of: 3, Company: o.Company, State: "finished", Token: "A1B2C3D4", Casing: "KX-0001"}
	s := &shelf{orders: map[string]*Order{"P-1001": o}, finds: map[string]Finds{"A1B2C3D4": {Hits: []Hit{hit}}}}
	many := Finds{More: true}
	for i := range 50 {
		many.Hits = append(many.Hits, Hit{By: "waybill", Order: fmt.Sprintf("P-%d", 2000+i), Unit: fmt.Sprintf("P-%d-001", 2000+i), Sequence: 1, Of: 1, State: "finished"})
	}
	s.finds["SF12"] = many
	s.finds["KX-0009"] = Finds{Hits: []Hit{{By: "casing", State: "blank", Token: "T9", Casing: "KX-0009"}}}
	// Noon is 12:00 at Shanghai.
	for i, state := range []string{"finished", "finished", "failed", "finished", "quarantined"} {
		s.day.Ends = append(s.day.Ends, End{At: noon.Add(-time.Duration(i) * 50 * time.Minute), State: state, Bay: fmt.Sprintf("bay-%02d", 1+i%2), Busy: time.Duration(20+20*(i%2)) * time.Second})
	}
	s.day.Ends = append(s.day.Ends, End{At: noon.Add(-13 * time.Hour), State: "finished", Bay: "bay-01"}) // yesterday there
	s.day.Left = Left{Units: 7, Orders: 2, Waiting: 1, Late: 3, Unsent: 5, Reports: 4}
	return s
}

// TestLine: late orders lead, then those due first; of those due together urgent ones; those
// without a due time come last. An order stays whole, whatever its jobs say of it.
func TestLine(t *testing.T) {
	job := func(order string, sequence int, due time.Duration, change func(*Job)) Job {
		j := Job{ID: fmt.Sprintf("%s-%d", order, sequence), Order: order, Sequence: sequence, Of: 3, Running: true}
		if due != 0 {
			j.Due = noon.Add(due)
		}
		if change != nil {
			change(&j)
		}
		return j
	}
	urgent := func(j *Job) { j.Urgent = true }
	waits := func(what string) func(*Job) {
		return func(j *Job) { j.Running, j.Waiting = false, what }
	}
	line := Line([]Job{
		job("NEVER", 1, 0, urgent), job("LATER", 1, 48*time.Hour, urgent), job("PLAIN", 1, 5*time.Hour, nil),
		job("RUSH", 2, 5*time.Hour, urgent), job("RUSH", 1, 6*time.Hour, waits("token")), job("LATE", 1, -time.Hour, waits("person")), job("LATE", 3, -time.Hour, nil),
		job("NET", 1, 7*time.Hour, waits("network")),
	}, noon)
	var got []string
	for _, q := range line {
		var keys []string
		for _, j := range q.Jobs {
			keys = append(keys, fmt.Sprint(j.Sequence))
		}
		got = append(got, fmt.Sprintf("%s %s late=%t soon=%t urgent=%t held=%t idle=%t", q.Order, strings.Join(keys, "+"), q.Late, q.Soon, q.Urgent, q.Held, q.Idle))
	}
	want := []string{
		"LATE 1+3 late=true soon=false urgent=false held=true idle=false",
		"RUSH 1+2 late=false soon=true urgent=true held=false idle=false",
		"PLAIN 1 late=false soon=true urgent=false held=false idle=false",
		"NET 1 late=false soon=true urgent=false held=false idle=true",
		"LATER 1 late=false soon=false urgent=true held=false idle=false",
		"NEVER 1 late=false soon=false urgent=true held=false idle=false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDayAt: a day is from midnight to midnight where the station is, also on the days on
// which clocks are changed.
func TestDayAt(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	shanghai := time.FixedZone("CST", 8*60*60)
	for _, row := range []struct {
		at    string
		zone  *time.Location
		from  string
		hours float64
	}{
		{"2026-11-26T15:59:59Z", shanghai, "2026-11-25T16:00:00Z", 24},
		{"2026-11-26T16:00:00Z", shanghai, "2026-11-26T16:00:00Z", 24},
		{"2026-11-26T16:00:00Z", time.UTC, "2026-11-26T00:00:00Z", 24},
		{"2026-03-29T12:00:00Z", berlin, "2026-03-28T23:00:00Z", 23},
		{"2026-10-25T12:00:00Z", berlin, "2026-10-24T22:00:00Z", 25},
	} {
		at, err := time.Parse(time.RFC3339, row.at)
		if err != nil {
			t.Fatal(err)
		}
		from, to := DayAt(at, row.zone)
		if got := from.UTC().Format(time.RFC3339); got != row.from || to.Sub(from).Hours() != row.hours {
			t.Errorf("%s in %s: from %s, %g hours", row.at, row.zone, got, to.Sub(from).Hours())
		}
	}
}

// TestCount: hours from the first to the last in which a job ended, with those between; bays
// by how long a finished key takes there.
func TestCount(t *testing.T) {
	from, to := DayAt(noon, time.UTC)
	end := func(minute int, state, bay string, busy int) End {
		return End{At: from.Add(time.Duration(minute) * time.Minute), State: state, Bay: bay, Busy: time.Duration(busy) * time.Second}
	}
	s := Count(Day{Left: Left{Units: 2}, Ends: []End{
		end(61, "finished", "b1", 10), end(119, "failed", "b2", 900), end(240, "finished", "b2", 30), end(241, "quarantined", "b1", 1),
		end(242, "finished", "b1", 12), end(243, "finished", "b1", 11), end(1439, "finished", "b2", 40),
	}}, from, to)
	var hours []string
	for _, h := range s.Hours[:4] {
		hours = append(hours, fmt.Sprintf("%s %d %d %d", h.From.Format("15"), h.Done, h.Failed, h.Quarantined))
	}
	if want := []string{"01 1 1 0", "02 0 0 0", "03 0 0 0", "04 3 0 1"}; !slices.Equal(hours, want) || len(s.Hours) != 23 {
		t.Errorf("%v and %d hours, wanted %v and 23", hours, len(s.Hours), want)
	}
	if s.Done != 5 || s.Failed != 1 || s.Quarantined != 1 || s.Left.Units != 2 {
		t.Errorf("%+v", s)
	}
	want := []BayTime{{"b2", 2, 1, 40 * time.Second, 40}, {"b1", 3, 1, 11 * time.Second, 11}}
	if !slices.Equal(s.Bays, want) || s.Slowest() != "b2" {
		t.Errorf("%+v, the slowest %q", s.Bays, s.Slowest())
	}
	if s := Count(Day{}, from, to); len(s.Hours) != 0 || s.Slowest() != "" {
		t.Errorf("nothing done: %+v", s)
	}
	if s := Count(Day{Ends: []End{end(1, "finished", "b1", 1), end(2, "failed", "b2", 1)}}, from, to); s.Slowest() != "" {
		t.Errorf("there is nothing to compare with: %q", s.Slowest())
	}
}

func TestCode(t *testing.T) {
	for text, want := range map[string]string{
		" P-1001\r\n": "P-1001", "0A:1B": "0A:1B", "": "", "  ": "", "a\x1bb": "", "\xff": "", strings.Repeat("9", 129): "", strings.Repeat("九", 128): strings.Repeat("九", 128),
	} {
		if got := Code(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// looks is what a screen looks like, in both languages.
func looks(t *testing.T, c *Console, look screen) (zh, en string) {
	t.Helper()
	var out [2]string
	for i, w := range c.words {
		f, err := look(w, Person{ID: "writer.a", Roles: Roles()})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Parts {
			out[i] += p[1]
		}
	}
	return out[0], out[1]
}

// TestScreensOfBooks: what each says, in both languages.
func TestScreensOfBooks(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	for _, row := range []struct {
		name   string
		look   screen
		zh, en []string
	}{
		{"order", c.order("P-1001"),
			[]string{"订单 P-1001", "已完成 1 / 3 把", "A1B2C3D4", "KX-0001", "0a1b2c", "2026年11月26日 至 2027年11月26日", "不在本站", "请把令牌插回", "第 1,234 条，中心服务器已签名", "11月26日 11:59:00", "封箱", "packer.b", "&lt;b&gt;token removed"},
			[]string{"Order P-1001", "1 of 3 keys done", "26 Nov 2026 to 26 Nov 2027", "Not at this station", "Put the token back", "entry 1,234, signed by the central server", "Parcel closed"}},
		{"no order", c.order("P-9"), []string{"没有做过订单 P-9"}, []string{"nothing of an order P-9"}},
		{"one", c.search("A1B2C3D4"), []string{"查到 1 项", "令牌序列号", "查到的是这一把", "订单 P-1001"}, []string{"1 was found", "This is the one", "a token serial"}},
		{"many", c.search("SF12"), []string{"只列出 50 项", "P-2049"}, []string{"too many; 50 are listed"}},
		{"a blank token", c.search("KX-0009"), []string{"空白，未使用", "T9"}, []string{"Blank, not used yet"}},
		{"none", c.search("X<i>"), []string{"没有查到", "X&lt;i&gt;"}, []string{"Nothing was found"}},
		{"no code", c.search("a\x07"), []string{"重新扫描"}, []string{"scan or type it again"}},
		{"today", c.today(""),
			[]string{"今日 2026年11月26日", "已完成 3 把", "失败 1 把", "隔离 1 把", "08:00", "12:00", "7 把，2 个订单", "最慢", "0:20", "0:40"},
			[]string{"Today, 26 Nov 2026", "3 keys finished", "7 keys of 2 orders", "slowest"}},
	} {
		zh, en := looks(t, c, row.look)
		for _, want := range row.zh {
			if !strings.Contains(zh, want) {
				t.Errorf("%s does not say %q:\n%s", row.name, want, zh)
			}
		}
		for _, want := range row.en {
			if !strings.Contains(en, want) {
				t.Errorf("%s does not say %q:\n%s", row.name, want, en)
			}
		}
	}
	if zh, _ := looks(t, c, c.search("SF12")); strings.Contains(zh, "P-2000-001") {
		t.Error("of many orders one is shown")
	}
	// Whether an order is urgent was written down when its units were leased; what the floor
	// has heard since is newer.
	c.Floor = &floor{}
	if zh, _ := looks(t, c, c.order("P-1001")); !strings.Contains(zh, "▲</span> 加急") {
		t.Errorf("urgent when it was leased:\n%s", zh)
	}
	for _, urgent := range []bool{true, false} {
		f := sampleFloor()
		for _, b := range f.bays {
			if b.Job != nil {
				b.Job.Urgent = urgent
			}
		}
		for i := range f.jobs {
			f.jobs[i].Urgent = urgent
		}
		c.Floor = f
		for name, look := range map[string]screen{"order": c.order("P-1001"), "bays": c.bays, "queue": c.queue} {
			zh, en := looks(t, c, look)
			if strings.Contains(zh, "▲</span> 加急") != urgent || strings.Contains(en, "▲</span> Urgent") != urgent {
				t.Errorf("urgent %t: %s says\n%s", urgent, name, en)
			}
		}
	}
	lost := errors.New("a disk is gone")
	c.Books.(*shelf).err = lost
	for name, look := range map[string]screen{"order": c.order("P-1001"), "search": c.search("x"), "today": c.today("")} {
		if _, err := look(c.words[0], Person{}); !errors.Is(err, lost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHistoryIsBounded: of a long history the latest part is shown, and how to see the rest.
func TestHistoryIsBounded(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	o := c.Books.(*shelf).orders["P-1001"]
	for range shownEvents {
		o.History = append(o.History, Event{At: noon, Unit: 1, What: EventClaimed})
	}
	zh, _ := looks(t, c, c.order("P-1001"))
	if n := strings.Count(zh, "已领取"); n != shownEvents-8 || !strings.Contains(zh, "usbkeyd orders show P-1001") {
		t.Errorf("%d of them are shown", n)
	}
}

// TestBooksAreAskedSeldom: however often the floor changes, one stream asks the books once
// for a while.
func TestBooksAreAskedSeldom(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	books := c.Books.(*shelf)
	v := signIn(t, c, "writer.a", RoleWriter)
	begun := time.Now()
	w := watch(t, v, "/live/order/P-1001")
	if name, data := w.next(); name != "screen" || !strings.Contains(data, "A1B2C3D4") {
		t.Fatalf("%s %.80s", name, data)
	}
	books.arrange(func(s *shelf) {
		other := *s.orders["P-1001"]
		other.Company = "另一家示例公司"
		s.orders["P-1001"] = &other
	})
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				c.Changed()
			}
		}
	}()
	name, data := w.next()
	close(stop)
	if name != "parts" || !strings.Contains(data, "另一家示例公司") {
		t.Errorf("%s %.80s", name, data)
	}
	books.arrange(func(s *shelf) {
		if took := time.Since(begun); s.asked > 1+int(took/rest) {
			t.Errorf("asked %d times in %s", s.asked, took)
		}
	})
}
