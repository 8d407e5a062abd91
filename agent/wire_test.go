package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/provision"
)

// sampleLease is what a server sends for the second key of three.
const sampleLease = `{"unitId":"SAMPLE-2026-0001-002","orderId":"SAMPLE-2026-0001","sequence":2,"of":3,"epoch":4,"generation":1,
"leaseSeconds":120,"kind":"initial","productCode":"CERT272353","validityYears":1,"company":{"name":"示例客车配件有限公司","uscc":"91000000MA0000001R"},
"handler":{"name":"经办人甲"},"shipping":{"carrier":"SF","freightCollect":true,"recipient":{"name":"收件人乙","phone":"0","address":"示例省"}}}`

// FuzzLease: whatever a server leases out, it becomes a job that holds together, or is refused.
func FuzzLease(f *testing.F) {
	f.Add([]byte(sampleLease))
	for _, change := range [][2]string{
		{`"sequence":2`, `"sequence":0`}, {`"sequence":2`, `"sequence":9`}, {"-002", "-003"}, {`"epoch":4`, `"epoch":-1`},
		{`"leaseSeconds":120`, `"leaseSeconds":0`}, {`"initial"`, `"other"`}, {`"validityYears":1`, `"validityYears":99`},
	} {
		f.Add(bytes.Replace([]byte(sampleLease), []byte(change[0]), []byte(change[1]), 1))
	}
	label, err := csr.CompileText("{{.UnitID}}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var l api.Lease
		if json.Unmarshal(text, &l) != nil {
			return
		}
		job, err := jobOf(l, label, time.Now())
		if err != nil {
			return
		}
		s := job.Subject
		if job.UnitID() != fmt.Sprintf("%s-%03d", s.OrderID, s.Sequence) || s.Sequence < 1 || s.Sequence > s.Of || job.Generation < 1 || job.TokenLabel.Validate() != nil {
			t.Errorf("%s became %+v", text, job)
		}
	})
}

// TestSampleLeaseIsAJob keeps the fuzzer's seed a good one.
func TestSampleLeaseIsAJob(t *testing.T) {
	var l api.Lease
	if err := json.Unmarshal([]byte(sampleLease), &l); err != nil {
		t.Fatal(err)
	}
	label, err := csr.CompileText("{{.UnitID}}")
	if err != nil {
		t.Fatal(err)
	}
	job, err := jobOf(l, label, time.Now())
	if err != nil || job.UnitID() != "SAMPLE-2026-0001-002" {
		t.Errorf("%+v (%v)", job, err)
	}
	// Who gets the letter, and whose phone no PIN is made of.
	if want := (provision.Recipient{Name: "收件人乙", Phone: "0", Address: "示例省"}); job.Recipient != want {
		t.Errorf("recipient %+v, want %+v", job.Recipient, want)
	}
}
