package console

import (
	"cmp"
	"slices"
	"time"
)

// soon is when an order that is not late is marked.
const soon = 24 * time.Hour

// Queued is what the station has not finished of one order.
type Queued struct {
	Order, Company string
	// Done units of Of are finished here.
	Done, Of int
	Marks
	Jobs []Job
}

// Marks are what is to be seen of an order from afar. Each has a word and a sign of its own.
type Marks struct {
	Due time.Time
	// Late is past its due time, Soon within a day of it.
	Late, Soon bool
	// Urgent goes before others that are due at the same time.
	Urgent bool
	// Held has a unit that waits for a person; Idle none at which anything is done.
	Held, Idle bool
}

// due marks a due time; a zero one is none.
func due(at, now time.Time) Marks {
	return Marks{Due: at, Late: !at.IsZero() && at.Before(now), Soon: !at.IsZero() && !at.Before(now) && at.Before(now.Add(soon))}
}

// Line is the queue order by order: by due time, so that late ones lead, those without one
// last; of those that are due together urgent ones first.
func Line(jobs []Job, now time.Time) []Queued {
	byOrder := map[string]*Queued{}
	for _, j := range jobs {
		q := byOrder[j.Order]
		if q == nil {
			q = &Queued{Order: j.Order, Company: j.Company, Done: j.Done, Of: j.Of, Marks: Marks{Due: j.Due, Idle: true}}
			byOrder[j.Order] = q
		}
		if q.Due.IsZero() || !j.Due.IsZero() && j.Due.Before(q.Due) {
			q.Due = j.Due
		}
		q.Of = max(q.Of, j.Of)
		q.Urgent = q.Urgent || j.Urgent
		q.Held = q.Held || j.Waiting == "person"
		q.Idle = q.Idle && !j.Running
		q.Jobs = append(q.Jobs, j)
	}
	var out []Queued
	for _, q := range byOrder {
		when := due(q.Due, now)
		q.Late, q.Soon = when.Late, when.Soon
		slices.SortFunc(q.Jobs, func(x, y Job) int { return cmp.Or(cmp.Compare(x.Sequence, y.Sequence), cmp.Compare(x.ID, y.ID)) })
		out = append(out, *q)
	}
	first := func(x, y bool) int {
		switch {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	}
	slices.SortFunc(out, func(x, y Queued) int {
		return cmp.Or(first(!x.Due.IsZero(), !y.Due.IsZero()), x.Due.Compare(y.Due), first(x.Urgent, y.Urgent), cmp.Compare(x.Order, y.Order))
	})
	return out
}

// queue is the screen of the jobs, order by order.
func (c *Console) queue(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "queue")
	line := Line(c.Floor.Queue(), c.Now())
	if len(line) == 0 {
		f.add("none", "none", map[string]any{"Text": "queue.none"})
	}
	for _, q := range line {
		f.add(q.Order, "order", map[string]any{"Q": q})
	}
	return f.frame, f.err
}
