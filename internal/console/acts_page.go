package console

import (
	"errors"
	"net/http"
	"time"
)

// again marks a route whose act is asked for again: what serves it is made with asks.
func again(p policy) policy {
	p.again = true
	return p
}

// asks serves a route that is asked again: it reads what is wanted, makes it pending, and
// answers 202 with the code. Each screen of whoever asks shows it, or why it cannot be.
func (c *Console) asks(want func(r *http.Request) (Preparation, error)) handler {
	return func(w http.ResponseWriter, r *http.Request, s *session) {
		prepare, err := want(r)
		if err != nil {
			refuse(w, http.StatusBadRequest)
			return
		}
		p, err := c.acts.ask(s.person, prepare)
		c.Changed()
		var no No
		switch {
		case errors.As(err, &no):
			refuse(w, http.StatusConflict)
		case errors.Is(err, errNotYou):
			refuse(w, http.StatusForbidden)
		case err != nil:
			c.Log.Error("an act could not be prepared", "person", s.person.ID, "error", err)
			refuse(w, http.StatusInternalServerError)
		default:
			c.sessions.touch(s)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusAccepted)
			send(w, map[string]string{"code": p.code})
		}
	}
}

// cancelAct takes back what was asked for.
func (c *Console) cancelAct(w http.ResponseWriter, r *http.Request, s *session) {
	var asked struct {
		Code string `json:"code"`
	}
	if read(r, &asked) != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	if err := c.acts.cancel(asked.Code, s.person); err != nil {
		refuse(w, http.StatusNotFound)
		return
	}
	c.Changed()
	w.WriteHeader(http.StatusNoContent)
}

// pending adds what a person has asked for to a screen.
func (f *framing) pending(all []pending, now time.Time) {
	for _, p := range all {
		var why sentence
		if p.failure != nil {
			why = f.words.why(p.failure)
		}
		f.add("act-"+p.code, "act", map[string]any{
			"P": p.Act, "Code": p.code, "State": p.state, "Why": why,
			"Confirm": p.state == actOpen && !p.confirmed, "Approve": p.state == actOpen && len(p.Second) > 0 && p.second == "",
			"Left": int(p.until.Sub(now)/(10*time.Second)+1) * 10, "Approver": p.second,
		})
	}
}

// why is a failure's sentence: that of a No, else the daemon's own words.
func (w *words) why(err error) sentence {
	var no No
	if errors.As(err, &no) {
		return w.sentence("no."+string(no), err.Error())
	}
	return w.sentence("", err.Error())
}
