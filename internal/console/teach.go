package console

import (
	"context"
	"net/http"
	"slices"
)

// Teacher pairs the numbers that are stuck on the hub with slots. Its methods must not wait,
// but for Teach at a disk.
type Teacher interface {
	Teaching() Teaching
	// Teach does one of TeachActs.
	Teach(do TeachAct) error
}

// TeachAct is what somebody who teaches can do beside putting tokens in.
type TeachAct string

// Acts of a teaching.
const (
	TeachBegin  TeachAct = "begin"
	TeachUndo   TeachAct = "undo"  // takes the last number back
	TeachSkip   TeachAct = "skip"  // leaves a number out
	TeachAgain  TeachAct = "again" // from number 1
	TeachCancel TeachAct = "cancel"
	TeachFinish TeachAct = "finish" // what was taught counts from now on
)

// TeachActs are all of them.
func TeachActs() []TeachAct {
	return []TeachAct{TeachBegin, TeachUndo, TeachSkip, TeachAgain, TeachCancel, TeachFinish}
}

// Teaching is how far it has come; while nobody teaches, what was taught.
type Teaching struct {
	Going bool `json:"going"`
	// Next is the number of the bay into which a token is wanted.
	Next int `json:"next,omitempty"`
	// Bays are the slots of number 1, 2 and so on; "" for a number that was left out.
	Bays []string `json:"bays,omitempty"`
	// Ports are the USB ports of as many bays, "" for not known.
	Ports []string `json:"ports,omitempty"`
	// Fault is what was wrong with the last token: model, twice (At has that slot), several.
	Fault string `json:"fault,omitempty"`
	At    int    `json:"at,omitempty"`
}

// teachers may teach bays.
func teachers() []Role { return []Role{RoleWriter, RoleSupervisor} }

// teach is the screen on which bays are taught.
func (c *Console) teach(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "teach")
	t := c.Teacher.Teaching()
	acts := []TeachAct{TeachBegin}
	if t.Going {
		acts = []TeachAct{TeachFinish, TeachUndo, TeachSkip, TeachAgain, TeachCancel}
	}
	f.add("now", "teach-now", map[string]any{"T": t, "Acts": acts, "May": p.may(teachers())})
	type row struct {
		Number     int
		Slot, Port string
	}
	var rows []row
	for i, slot := range t.Bays {
		rows = append(rows, row{i + 1, slot, ""})
		if i < len(t.Ports) {
			rows[i].Port = t.Ports[i]
		}
	}
	f.add("taught", "teach-taught", map[string]any{"T": t, "Rows": rows})
	return f.frame, f.err
}

// doTeach takes an act of a teaching.
func (c *Console) doTeach(w http.ResponseWriter, r *http.Request, s *session) {
	var asked struct {
		Do TeachAct `json:"do"`
	}
	if read(r, &asked) != nil || !slices.Contains(TeachActs(), asked.Do) {
		refuse(w, http.StatusBadRequest)
		return
	}
	if err := c.taught(s.person, asked.Do); err != nil {
		refuse(w, http.StatusInternalServerError)
		return
	}
	c.sessions.touch(s)
	w.WriteHeader(http.StatusNoContent)
}

func (c *Console) taught(p Person, do TeachAct) error {
	err := c.Teacher.Teach(do)
	c.Log.Info("bays are taught", "person", p.ID, "act", do, "error", err)
	c.Changed()
	return err
}

// lesson takes an act of a teaching at the socket, where one is named, and says how far it is.
func (c *Console) lesson(p Person, do TeachAct) answer {
	switch {
	case do != "" && !slices.Contains(TeachActs(), do):
		return answer{Refused: "this usbkeyd does not know what is asked: are both of the same version?"}
	case do != "" && !p.may(teachers()):
		return answer{Refused: errNotYou.Error()}
	case do != "":
		if err := c.taught(p, do); err != nil {
			return answer{Refused: "what was taught cannot be kept; the daemon's log says why"}
		}
	}
	t := c.Teacher.Teaching()
	return answer{Teaching: &t}
}

// AskTeach does an act of a teaching, "" for none, and says how far it is. ErrRefused; errors
// of the socket.
func AskTeach(ctx context.Context, socket string, do TeachAct) (Teaching, error) {
	a, err := call(ctx, socket, question{Ask: askTeach, Do: do})
	if err != nil || a.Teaching == nil {
		return Teaching{}, err
	}
	return *a.Teaching, nil
}
