package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/provision"
)

// unitRecord remembers how each unit ended, for a JUnit report.
type unitRecord struct {
	mu    sync.Mutex
	units map[string]*unitOutcome
}

type unitOutcome struct {
	provision.Progress
	begun, ended time.Time
}

func newUnitRecord() *unitRecord { return &unitRecord{units: map[string]*unitOutcome{}} }

func (r *unitRecord) observe(p provision.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.units[p.Job.ID]
	if u == nil {
		u = &unitOutcome{begun: time.Now()}
		r.units[p.Job.ID] = u
	}
	u.Progress, u.ended = p, time.Now()
}

// canWriteJUnit finds out before any work whether the report can be written after it.
func canWriteJUnit(path string) error {
	_, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644) // #nosec G302 -- others read the report
	if err != nil {
		return fmt.Errorf("the JUnit report cannot be written, so nothing was begun: %w", err)
	}
	err = f.Close()
	if isNew {
		err = errors.Join(err, os.Remove(path)) // an empty file is no report
	}
	return err
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes one test case a job: a failure when it failed or its token was
// quarantined, an error when it waits.
func (r *unitRecord) writeJUnit(path string, took time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	suite := junitSuite{Name: "usbkeyd", Time: fmt.Sprintf("%.3f", took.Seconds())}
	for id, u := range r.units {
		c := junitCase{Class: u.Job.Subject.OrderID, Name: id, Time: fmt.Sprintf("%.3f", u.ended.Sub(u.begun).Seconds())}
		message := &junitMessage{Message: string(u.State) + " at " + string(u.Step), Text: u.Reason + "\n" + u.Hint}
		switch u.State {
		case provision.StateFinished:
		case provision.StateFailed, provision.StateQuarantined:
			c.Failure = message
			suite.Failures++
		default:
			c.Error = message
			suite.Errors++
		}
		suite.Cases = append(suite.Cases, c)
	}
	slices.SortFunc(suite.Cases, func(x, y junitCase) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
	suite.Tests = len(suite.Cases)
	body, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append([]byte(xml.Header), append(body, '\n')...), 0o644); err != nil { // #nosec G306 -- as above
		return fmt.Errorf("JUnit report: %w", err)
	}
	return nil
}
