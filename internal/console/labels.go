package console

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"sync"
)

// Labels is what the page can have done about the labels of finished tokens.
type Labels interface {
	// Print prints the label of a token, once more if need be; it takes as long as the printer.
	Print(ctx context.Context, token, by string) LabelAnswer
	// Confirm takes the scan of a label that was just stuck on.
	Confirm(token, by string) LabelAnswer
}

// LabelAnswer is what became of it, and names a text of the page.
type LabelAnswer string

// Answers. The first two say that it was done.
const (
	LabelPrinted   LabelAnswer = "printed"
	LabelStuck     LabelAnswer = "stuck"
	LabelNoPrinter LabelAnswer = "no-printer" // this station has none for labels
	LabelNotSent   LabelAnswer = "not-sent"   // nothing was handed to the printer
	LabelNoKey     LabelAnswer = "no-key"     // no finished key has this token serial
	LabelWrong     LabelAnswer = "wrong"      // another label is waited for
	LabelUnprinted LabelAnswer = "unprinted"  // it is not printed yet
	LabelUnseen    LabelAnswer = "unseen"     // another token has not been looked for since
	LabelMixed     LabelAnswer = "mixed"      // more than one token is out of its bay
	LabelInBay     LabelAnswer = "in-bay"     // the token has not been taken out
	LabelUnknown   LabelAnswer = "unknown"    // no label is waited for
	LabelFailed    LabelAnswer = "failed"     // it could not be written down
)

// LabelAnswers are all of them.
func LabelAnswers() []LabelAnswer {
	return []LabelAnswer{LabelPrinted, LabelStuck, LabelNoPrinter, LabelNotSent, LabelNoKey, LabelWrong, LabelUnprinted, LabelUnseen, LabelMixed, LabelInBay, LabelUnknown, LabelFailed}
}

// labellers are who has tokens and labels in the hand.
func labellers() []Role { return []Role{RoleWriter, RolePacker} }

// labelActs are what this person may have done about a bay's label, as routes are called.
func labelActs(b Bay, p Person) []string {
	if b.State == BayLabel && p.may(labellers()) {
		return []string{"confirm", "print"}
	}
	return nil
}

// labelScan is what the serial on a label is like, while one waits to be scanned by this person,
// on whatever screen; else "".
func (c *Console) labelScan(p Person) string {
	waits := func(b Bay) bool { return b.State == BayLabel || b.State == BayMixed }
	if !p.may(labellers()) || !slices.ContainsFunc(c.Floor.Bays(), waits) {
		return ""
	}
	return labelToken().String()
}

func (c *Console) printLabel(w http.ResponseWriter, r *http.Request, s *session) {
	c.labelAct(w, r, s, func(token string) LabelAnswer { return c.Labels.Print(r.Context(), token, s.person.ID) })
}

func (c *Console) confirmLabel(w http.ResponseWriter, r *http.Request, s *session) {
	c.labelAct(w, r, s, func(token string) LabelAnswer { return c.Labels.Confirm(token, s.person.ID) })
}

// labelToken is a token's serial as a scanner reads it, whole: no control character, no blank
// at an end.
var labelToken = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[!-~]([ -~]{0,62}[!-~])?$`) })

// labelAct has an act done about the token that a request names, and answers with its code and
// a sentence in the language of who asked.
func (c *Console) labelAct(w http.ResponseWriter, r *http.Request, s *session, act func(token string) LabelAnswer) {
	var asked struct {
		Token string `json:"token"`
	}
	if read(r, &asked) != nil || !labelToken().MatchString(asked.Token) {
		refuse(w, http.StatusBadRequest)
		return
	}
	c.sessions.touch(s)
	answer := LabelNoPrinter
	if c.Labels != nil {
		answer = act(asked.Token)
	}
	says, err := c.wordsFor(r).say("label." + string(answer))
	if err != nil {
		refuse(w, http.StatusInternalServerError)
		return
	}
	c.Changed()
	send(w, struct {
		Done   bool        `json:"done"`
		Answer LabelAnswer `json:"answer"`
		Says   string      `json:"says"`
	}{answer == LabelPrinted || answer == LabelStuck, answer, says})
}
