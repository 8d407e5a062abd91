package console

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// watcher reads a stream as a browser does.
type watcher struct {
	t      *testing.T
	events chan [2]string
}

// watch opens a stream at a real server.
func watch(t *testing.T, v *visitor, path string) *watcher {
	t.Helper()
	server := httptest.NewServer(v.c)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); server.Close() })
	r := v.request(http.MethodGet, path, "").WithContext(ctx)
	r.RequestURI, r.URL.Host, r.Host = "", strings.TrimPrefix(server.URL, "http://"), v.host
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s", path, answer.Status)
	}
	w := &watcher{t, make(chan [2]string, 1000)}
	go func() {
		defer close(w.events)
		defer func() { _ = answer.Body.Close() }()
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		name := ""
		for lines.Scan() {
			if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = event
			} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				w.events <- [2]string{name, data}
			}
		}
	}()
	return w
}

// next is the next event that is no beat.
func (w *watcher) next() (name, data string) {
	w.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				return "end", ""
			}
			if e[0] != "beat" {
				return e[0], e[1]
			}
		case <-limit:
			w.t.Fatal("no event in a minute")
		}
	}
}

// TestLive: the whole screen first, then what changed and nothing else, soon, and the end
// when the session is locked.
func TestLive(t *testing.T) {
	f := sampleFloor()
	c, _ := newPage(t, f)
	v := signIn(t, c, "writer.a", RoleWriter)
	w := watch(t, v, "/live/bays")
	name, data := w.next()
	var whole frame
	if err := json.Unmarshal([]byte(data), &whole); err != nil || name != "screen" {
		t.Fatalf("%s %v", name, err)
	}
	if whole.Language != "zh-CN" || whole.Title != "槽位" || len(whole.Parts) != 1+len(f.bays) {
		t.Errorf("%s %s, %d parts", whole.Language, whole.Title, len(whole.Parts))
	}
	for _, want := range []string{"示例客车配件有限公司", "第 4 把 / 共 8 把", "生成密钥对", "通常 0:12", "总用时", "通常 0:25", "请把令牌插回", "制作中", "已隔离"} {
		if !strings.Contains(data, want) {
			t.Errorf("the screen does not say %s", want)
		}
	}
	if strings.Contains(data, "<script") || !strings.Contains(data, "&lt;script") {
		t.Error("a reason's markup got through")
	}
	// Ten changes a second, each seen within 200 ms.
	var took []time.Duration
	for i := range 10 {
		f.arrange(func(f *floor) { job := *f.bays[3].Job; job.Percent = 41 + i; f.bays[3].Job = &job })
		begun := time.Now()
		c.Changed()
		name, data = w.next()
		took = append(took, time.Since(begun))
		var parts []part
		if err := json.Unmarshal([]byte(data), &parts); err != nil || name != "parts" || len(parts) != 1 || parts[0][0] != whole.Parts[4][0] {
			t.Fatalf("%s %s: %v", name, data, err)
		}
		time.Sleep(100*time.Millisecond - time.Since(begun))
	}
	if slices.Sort(took); took[len(took)/4] > 200*time.Millisecond { // the others may be the machine's
		t.Errorf("changes took %s", took)
	}
	f.arrange(func(f *floor) { f.bays = f.bays[:3] })
	c.Changed()
	if name, data = w.next(); name != "screen" || !strings.Contains(data, `class=\"bay`) {
		t.Errorf("bays went away: %s %.200s", name, data)
	}
	// What nobody tells of is seen all the same.
	f.arrange(func(f *floor) { f.bays[0].Token = "T9999" })
	if name, data = w.next(); name != "parts" || !strings.Contains(data, "T9999") {
		t.Errorf("%s %s", name, data)
	}
	if locked := v.do(http.MethodPost, "/lock", "{}", nil); locked.Code != http.StatusNoContent {
		t.Fatal(locked.Code)
	}
	if name, _ = w.next(); name != "locked" {
		t.Errorf("after the lock: %s", name)
	}
	if name, _ = w.next(); name != "end" {
		t.Errorf("after locked: %s", name)
	}
}

// TestBeat: a page that nothing happens on hears so, once a second.
func TestBeat(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	w := watch(t, signIn(t, c, "writer.a", RoleWriter), "/live/station")
	w.next()
	begun := time.Now()
	for range 3 {
		if e := <-w.events; e[0] != "beat" {
			t.Errorf("%v", e)
		}
	}
	if took := time.Since(begun); took < 2*time.Second || took > 5*time.Second {
		t.Errorf("three beats took %s", took)
	}
}

// TestStreamsAreBounded: one too many is told to come back.
func TestStreamsAreBounded(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	v := signIn(t, c, "writer.a", RoleWriter)
	for range mostStreams {
		c.streams <- struct{}{}
	}
	if w := v.do(http.MethodGet, "/live/bays", "", nil); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d", w.Code)
	}
	<-c.streams
	r := briefly(t, v.request(http.MethodGet, "/live/bays", ""))
	w := httptest.NewRecorder()
	if c.ServeHTTP(w, r); w.Code != http.StatusOK || len(c.streams) != mostStreams-1 {
		t.Errorf("%d, %d streams", w.Code, len(c.streams))
	}
}

// TestScreens: late orders come first and say so, in both languages; nothing is left out.
func TestScreens(t *testing.T) {
	f := sampleFloor()
	late, soonDue := *sampleJob(1), *sampleJob(2)
	late.Order, late.Due, late.Running, late.Waiting, late.Hint = "P-0900", noon.Add(-26*time.Hour), false, "person", "Show the reason to whoever runs the station."
	soonDue.Order, soonDue.Due = "P-0950", noon.Add(3*time.Hour)
	f.jobs = append(f.jobs, soonDue, late)
	f.is.Alarms = []Alarm{
		{Code: "pcscd-stuck", Since: noon, Text: "no answer", Hint: "Restart pcscd."},
		{Code: "brand-new", Since: noon, Text: "Something new.", Hint: "Do something."},
	}
	f.is.Ahead = -90 * time.Second
	c, _ := newPage(t, f)
	p := Person{ID: "writer.a", Roles: []Role{RoleWriter}}
	all := func(fr frame, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, part := range fr.Parts {
			b.WriteString(part[1])
		}
		return b.String()
	}
	inOrder := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			_, rest, ok := strings.Cut(text, w)
			if !ok {
				t.Fatalf("%q does not follow in\n%s", w, text)
			}
			text = rest
		}
	}
	inOrder(all(c.queue(c.words[0], p)), "pcscd 没有反应", `<span lang="en">Something new.</span>`, "P-0900", "已超期", "超期 1 天", "等待人工处理", "已完成 2 / 8 把", "请把原因告诉", "P-0950", "24 小时内到期", "截止 11月26日 15:00", "P-1001")
	inOrder(all(c.queue(c.words[1], p)), "pcscd does not answer", "Something new.", "P-0900", "Late", "1 day late", "Waits for a person", "2 of 8 keys done", "Show the reason", "P-0950", "Due within 24 hours", "due 26 Nov 15:00", "P-1001")
	inOrder(all(c.station(c.words[0], p)), "demo-station", "1.2.3", "在 TPM 中", "central.example.com", "比服务器快 90 秒", "5,120 MB", "libsofthsm2.so")
	inOrder(all(c.station(c.words[1], p)), "demo-station", "in the TPM", "90 seconds ahead", "5,120 MB")
	f.jobs, f.bays = nil, nil
	inOrder(all(c.queue(c.words[1], p)), "Nothing is waiting")
	inOrder(all(c.bays(c.words[1], p)), "No bay can be shown")
	if f.bays = sampleFloor().bays; strings.Contains(all(c.bays(c.words[0], p)), "<script") {
		t.Error("markup of a reason got through")
	}
}

// BenchmarkMarkup is what 64 bays take, beside the 50 ms that are between two looks.
func BenchmarkMarkup(b *testing.B) {
	c, _ := newPage(b, sixtyFourBays())
	for b.Loop() {
		if _, err := c.bays(c.words[0], Person{ID: "writer.a"}); err != nil {
			b.Fatal(err)
		}
	}
}
