package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// mostStreams bounds how many pages may look at once.
	mostStreams = 64
	// calm is the time between two looks at the floor while nothing says that it changed.
	calm = time.Second
	// pace is the shortest time between two answers of one stream: what comes in between is
	// told together.
	pace = 50 * time.Millisecond
	// writeLimit is how long a browser may take to read.
	writeLimit = 5 * time.Second
)

// frame is what a screen looks like at one moment: a head, and parts one below the other,
// each an element with an id.
type frame struct {
	Language string `json:"language"`
	Title    string `json:"title"`
	Head     part   `json:"head"`
	Parts    []part `json:"parts"`
}

// part is an element's id and its markup.
type part [2]string

// screen makes frames.
type screen func(w *words, p Person) (frame, error)

// live tells a screen as it changes, as a stream of events (WHATWG HTML, 9.2). First comes
// all of it, then what has become different, and at least once a second a beat.
//
// A browser's own EventSource could not carry the token, so console.js reads the stream with
// fetch. Whether the session still stands is asked before every event.
func (c *Console) live(look screen) handler {
	return func(w http.ResponseWriter, r *http.Request, s *session) {
		select {
		case c.streams <- struct{}{}:
			defer func() { <-c.streams }()
		default:
			refuse(w, http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		out := events{w, http.NewResponseController(w)}
		if err := c.tell(r.Context(), out, look, c.wordsFor(r), s); err != nil && r.Context().Err() == nil {
			c.Log.Debug("a page was lost", "person", s.person.ID, "error", err)
		}
	}
}

// tell writes events until the session ends, ctx ends or the browser is gone.
func (c *Console) tell(ctx context.Context, out events, look screen, words *words, s *session) error {
	var shown frame
	for {
		changed := c.change() // before looking, so that nothing falls between
		if !c.sessions.stands(s) {
			return out.send("locked", struct{}{})
		}
		now, err := look(words, s.person)
		if err != nil {
			c.Log.Error("the operator's page cannot be made", "error", err)
			return out.send("broken", struct{}{})
		}
		name, event := difference(shown, now)
		if err := out.send(name, event); err != nil {
			return err
		}
		shown = now
		if !wait(ctx, pace, nil) || !wait(ctx, calm-pace, changed) {
			return nil
		}
	}
}

// wait waits for d or for changed, and reports whether ctx still stands.
func wait(ctx context.Context, d time.Duration, changed <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-changed:
	}
	return true
}

// difference is the event that makes one frame of another: the whole of it when parts came,
// went or moved, else the parts that are different, else a beat.
func difference(was, now frame) (name string, event any) {
	ids := func(f frame) []string {
		out := make([]string, len(f.Parts))
		for i, p := range f.Parts {
			out[i] = p[0]
		}
		return out
	}
	if was.Language != now.Language || was.Title != now.Title || !slices.Equal(ids(was), ids(now)) {
		return "screen", now
	}
	var parts []part
	if was.Head != now.Head {
		parts = append(parts, now.Head)
	}
	for i, p := range now.Parts {
		if was.Parts[i] != p {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return "beat", struct{}{}
	}
	return "parts", parts
}

// events writes them.
type events struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// encode makes JSON in one line, with markup as it is: escaped for HTML once more, as json.Marshal
// would, every < took six bytes.
func encode(value any) ([]byte, error) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return bytes.TrimSuffix(line.Bytes(), []byte("\n")), err
}

func (e events) send(name string, value any) error {
	data, err := encode(value)
	if err != nil {
		return err
	}
	if err := e.c.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", name, data); err != nil {
		return err
	}
	return e.c.Flush()
}
