package cups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/OpenPrinting/goipp"
)

// answerTime is how long CUPS may take to answer a question.
const answerTime = 5 * time.Second

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

var errUnknownJob = errors.New("no such job")

// queue is what CUPS says of a printer (RFC 8011, 5.4; printer-error-policy is CUPS's own).
type queue struct {
	accepts bool
	state   int // 3 idle, 4 processing, 5 stopped
	model   string
	policy  string
	message string
	reasons []string // RFC 8011, 5.4.12, each with a suffix such as -error
}

// wantsPaper reports whether the printer says that it has none.
func (q queue) wantsPaper() bool {
	return slices.ContainsFunc(q.reasons, func(r string) bool {
		return strings.HasPrefix(r, "media-empty") || strings.HasPrefix(r, "media-needed")
	})
}

// Of queues that are no good.
const (
	printerStopped = 5
	// rawPrinter is how CUPS names a queue without a driver, which may say "completed" and
	// print nothing, or write the PDF's bytes as text.
	rawPrinter = "Local Raw Printer"
	// abortJob is the policy under which a job that failed is not tried again: any other one
	// can print a PIN twice, or later.
	abortJob = "abort-job"
)

func (q queue) fit() error {
	switch {
	case !q.accepts:
		return fmt.Errorf("%w: it does not accept jobs (cupsaccept): %s", ErrStopped, q.message)
	case q.state == printerStopped:
		return fmt.Errorf("%w: it is stopped (cupsenable): %s", ErrStopped, q.message)
	case q.model == rawPrinter || q.model == "":
		return errors.New("it has no driver: CUPS would call a sheet completed that was never printed (lpadmin -m)")
	case q.policy != abortJob:
		return fmt.Errorf("its error policy is %q: a sheet could be printed twice (lpadmin -o printer-error-policy=%s)", q.policy, abortJob)
	}
	return nil
}

// jobState is RFC 8011, 5.3.7.
type jobState int

const (
	jobCanceled  jobState = 7
	jobAborted   jobState = 8
	jobCompleted jobState = 9
)

func (s jobState) ended() bool { return s >= jobCanceled }

type jobInfo struct {
	state   jobState
	message string
}

// says puts the end of a job into words.
func (j jobInfo) says(job int) (End, string) {
	detail := ""
	if j.message != "" {
		detail = " (" + firstLine(j.message, nil) + ")"
	}
	switch j.state {
	case jobCompleted:
		return Completed, fmt.Sprintf("CUPS says that job %d is completed, which it also says of sheets that never came out: look whether this one is there, whole and readable.", job)
	case jobCanceled:
		return Cancelled, fmt.Sprintf("Job %d was cancelled%s. Look at the printer and destroy what is there.", job, detail)
	}
	return GivenUp, fmt.Sprintf("CUPS gave up job %d%s. The sheet may be in the printer, whole or in part: look for it and destroy it.", job, detail)
}

func (p Printer) queue(ctx context.Context) (queue, error) {
	answer, err := p.ask(ctx, goipp.OpGetPrinterAttributes,
		goipp.MakeAttr("requested-attributes", goipp.TagKeyword, goipp.String("printer-is-accepting-jobs"), goipp.String("printer-state"),
			goipp.String("printer-make-and-model"), goipp.String("printer-error-policy"), goipp.String("printer-state-message"), goipp.String("printer-state-reasons")))
	if err != nil {
		return queue{}, err
	}
	a := answer.Printer
	accepts, _ := first(a, "printer-is-accepting-jobs").(goipp.Boolean)
	return queue{
		accepts: bool(accepts), state: number(a, "printer-state"), model: words(a, "printer-make-and-model"),
		policy: words(a, "printer-error-policy"), message: words(a, "printer-state-message"),
		reasons: all(a, "printer-state-reasons"),
	}, nil
}

func (p Printer) job(ctx context.Context, id int) (jobInfo, error) {
	answer, err := p.ask(ctx, goipp.OpGetJobAttributes, goipp.MakeAttr("job-id", goipp.TagInteger, goipp.Integer(id)),
		goipp.MakeAttr("requested-attributes", goipp.TagKeyword, goipp.String("job-state"), goipp.String("job-printer-state-message")))
	if err != nil {
		return jobInfo{}, err
	}
	return jobInfo{jobState(number(answer.Job, "job-state")), words(answer.Job, "job-printer-state-message")}, nil
}

func (p Printer) cancel(ctx context.Context, id int) error {
	_, err := p.ask(ctx, goipp.OpCancelJob, goipp.MakeAttr("job-id", goipp.TagInteger, goipp.Integer(id)))
	return err
}

// ask sends one request about the printer (RFC 8010, 8011) and reads the answer. A job
// that is not there is errUnknownJob.
func (p Printer) ask(ctx context.Context, op goipp.Op, attributes ...goipp.Attribute) (*goipp.Message, error) {
	m := goipp.NewRequest(goipp.DefaultVersion, op, 1)
	for _, a := range append([]goipp.Attribute{
		goipp.MakeAttr("attributes-charset", goipp.TagCharset, goipp.String("utf-8")),
		goipp.MakeAttr("attributes-natural-language", goipp.TagLanguage, goipp.String("en")),
		goipp.MakeAttr("printer-uri", goipp.TagURI, goipp.String("ipp://localhost/printers/"+p.Name)),
		goipp.MakeAttr("requesting-user-name", goipp.TagName, goipp.String(userName())),
	}, attributes...) {
		m.Operation.Add(a)
	}
	body, err := m.EncodeBytes()
	if err != nil {
		return nil, fmt.Errorf("CUPS: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/printers/"+p.Name, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("CUPS: %w", err)
	}
	req.Header.Set("Content-Type", goipp.ContentType)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network := "tcp"
		if filepath.IsAbs(p.Server) {
			network = "unix"
		}
		return (&net.Dialer{}).DialContext(ctx, network, p.Server)
	}}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("CUPS cannot be reached at %s: %w", p.Server, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("CUPS answers %s", resp.Status)
	}
	var answer goipp.Message
	if err := answer.Decode(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return nil, fmt.Errorf("CUPS's answer: %w", err)
	}
	switch status := goipp.Status(answer.Code); {
	case status == goipp.StatusErrorNotFound && op == goipp.OpGetJobAttributes:
		return nil, errUnknownJob
	case status == goipp.StatusErrorNotFound && op == goipp.OpGetPrinterAttributes:
		return nil, errors.New("CUPS has no printer of that name")
	case status >= goipp.StatusRedirectionOtherSite: // below are the successful ones, RFC 8011, B.1
		return nil, fmt.Errorf("CUPS answers %s", status)
	}
	return &answer, nil
}

func first(attributes goipp.Attributes, name string) goipp.Value {
	for _, a := range attributes {
		if a.Name == name && len(a.Values) > 0 {
			return a.Values[0].V
		}
	}
	return nil
}

// all are the values of an attribute that has several.
func all(attributes goipp.Attributes, name string) (out []string) {
	for _, a := range attributes {
		if a.Name != name {
			continue
		}
		for _, v := range a.Values {
			if s, ok := v.V.(goipp.String); ok {
				out = append(out, string(s))
			}
		}
	}
	return out
}

func number(attributes goipp.Attributes, name string) int {
	n, _ := first(attributes, name).(goipp.Integer)
	return int(n)
}

func words(attributes goipp.Attributes, name string) string {
	switch v := first(attributes, name).(type) {
	case goipp.String:
		return string(v)
	case goipp.TextWithLang:
		return v.Text
	}
	return ""
}
