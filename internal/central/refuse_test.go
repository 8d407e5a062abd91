package central_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
)

// Requests that are wrong in one way each, at the station's side.
func TestBadStationRequests(t *testing.T) { onBothEngines(t, testBadStationRequests) }

func testBadStationRequests(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	used := s.one("USED").issued()
	w := s.one("BAD").escrowed()
	other := s.one("OTHER").escrowed()
	tampered := bytes.Clone(w.csr.Csr)
	tampered[len(tampered)-1] ^= 1
	big := bytes.Repeat([]byte(" "), 10<<20)
	raw := func(method, path, body string) func() answer {
		return func() answer { return s.send(method, path, []byte(body)) }
	}
	csrWith := func(mutate func(*api.CsrRequest)) func() answer {
		return func() answer {
			changed := *w
			mutate(&changed.csr)
			return changed.putCSR()
		}
	}
	subject := func(attributes ...string) func() answer {
		return csrWith(func(q *api.CsrRequest) { q.Csr = request(t, newKey(t), attributes...) })
	}
	rows := []struct {
		name   string
		send   func() answer
		status int
		want   api.ProblemType
		detail string
	}{
		{"unknown path", raw("GET", "/nowhere", ""), 404, api.ProblemNotFound, ""},
		{"path with dots", raw("GET", "/x/../meta", ""), 404, api.ProblemNotFound, ""},
		{"outside /v1", func() answer {
			return send(t, r.spec, s.http, strings.TrimSuffix(s.srv.StationURL(), "/v1"), "GET", "/meta", nil)
		}, 404, api.ProblemNotFound, ""},
		{"wrong method", raw("DELETE", "/session", ""), 405, api.ProblemMethodNotAllowed, "PUT"},
		{"an administration operation", raw("GET", "/orders", ""), 404, api.ProblemNotFound, ""},
		{"10 MB", func() answer { return s.send("PUT", "/session", big) }, 413, api.ProblemContentTooLarge, "65536"},
		{"10 MB for the CSR", func() answer { return s.send("PUT", w.path("csr"), big) }, 413, api.ProblemContentTooLarge, "262144"},
		{"no JSON type", func() answer { return s.send("PUT", "/session", []byte("{}"), "Content-Type", "text/plain") }, 415, api.ProblemUnsupportedMediaType, ""},
		{"JSON in another charset", func() answer {
			return s.send("PUT", "/session", []byte("{}"), "Content-Type", "application/json; charset=gbk")
		}, 415, api.ProblemUnsupportedMediaType, ""},
		{"compressed", func() answer { return s.send("PUT", "/session", []byte("{}"), "Content-Encoding", "gzip") }, 415, api.ProblemUnsupportedMediaType, ""},
		{"empty body", raw("PUT", "/session", ""), 400, api.ProblemBadRequest, "empty"},
		{"not JSON", raw("PUT", "/session", `{"bootId": x}`), 400, api.ProblemBadRequest, "at byte 11"},
		{"cut off", raw("PUT", "/session", `{"bootId":`), 400, api.ProblemBadRequest, ""},
		{"more after the document", raw("PUT", "/session", `{} {}`), 400, api.ProblemBadRequest, "at byte 3"},
		{"a key twice", raw("PUT", "/session", `{"bootId":"a","bootId":"b"}`), 400, api.ProblemBadRequest, "/bootId appears twice"},
		{"not UTF-8", raw("PUT", "/session", "{\"bootId\":\"\xff\"}"), 400, api.ProblemBadRequest, "UTF-8"},
		{"very deep", raw("PUT", "/session", strings.Repeat("[", 10000)+strings.Repeat("]", 10000)), 400, api.ProblemBadRequest, "deep"},
		{"an array", raw("PUT", "/session", "[]"), 422, api.ProblemInvalidContent, ""},
		{"wait out of range", func() answer {
			return s.send("POST", "/claims?wait=26", s.claimRequest(1), "Idempotency-Key", uuid.NewString())
		}, 400, api.ProblemBadRequest, "wait"},
		{"wait not a number", func() answer {
			return s.send("POST", "/claims?wait=x", s.claimRequest(1), "Idempotency-Key", uuid.NewString())
		}, 400, api.ProblemBadRequest, "wait"},
		{"unit id of another form", raw("GET", "/units/bad/generations/1/certificate", ""), 400, api.ProblemBadRequest, "unitId"},
		{"generation 0", raw("GET", "/units/BAD-001/generations/0/certificate", ""), 400, api.ProblemBadRequest, "generation"},
		{"generation too large for 32 bits", raw("GET", "/units/BAD-001/generations/99999999999/certificate", ""), 400, api.ProblemBadRequest, "generation"},
		{"escrow id in capitals", raw("PUT", "/escrows/"+strings.ToUpper(w.escrowID), "{}"), 400, api.ProblemBadRequest, "escrowId"},
		{"an epoch as 1e0", raw("POST", "/units/BAD-001/release", `{"epoch":1e0,"reason":"no-token"}`), 400, api.ProblemBadRequest, "whole numbers"},
		{"unit unknown", func() answer { return s.release("NOWHERE-001", 1, api.NoToken) }, 404, api.ProblemNotFound, ""},
		{"CSR of an unknown unit", func() answer { return s.send("PUT", "/units/NOWHERE-001/generations/1/csr", w.csr) }, 404, api.ProblemNotFound, ""},
		{"certificate of an unknown unit", raw("GET", "/units/NOWHERE-001/generations/1/certificate", ""), 404, api.ProblemNotFound, ""},
		{"certificate before the CSR", func() answer { return w.getCertificate(0) }, 409, api.ProblemUnitState, ""},
		{"result before the CSR", w.putResult, 409, api.ProblemUnitState, "release it"},
		{"token of an unknown escrow", func() answer {
			return s.send("PUT", "/escrows/"+uuid.NewString()+"/token", api.EscrowTokenRequest{TokenSerial: "x"})
		}, 404, api.ProblemNotFound, ""},
		{"generation not reached", func() answer { return s.send("PUT", "/units/BAD-001/generations/2/csr", w.csr) }, 409, api.ProblemUnitState, "generation 1"},
		{"epoch not reached", csrWith(func(q *api.CsrRequest) { q.Epoch = 7 }), 409, api.ProblemStaleEpoch, ""},
		{"no such escrow", csrWith(func(q *api.CsrRequest) { q.EscrowId = uuid.NewString() }), 409, api.ProblemEscrowConflict, "must be in escrow first"},
		{"another unit's escrow", csrWith(func(q *api.CsrRequest) { q.EscrowId = other.escrowID }), 409, api.ProblemEscrowConflict, "another unit"},
		{"another token's escrow", csrWith(func(q *api.CsrRequest) { q.TokenSerial = "elsewhere" }), 409, api.ProblemEscrowConflict, ""},
		{"base64 broken", raw("PUT", w.path("csr"), `{"epoch":1,"csr":"a*b=","tokenSerial":"t","tokenModel":"m","keyId":"0a","escrowId":"`+w.escrowID+`"}`), 422, api.ProblemInvalidContent, ""},
		{"not a CSR", csrWith(func(q *api.CsrRequest) { q.Csr = []byte("hello") }), 422, api.ProblemCsrInvalid, ""},
		{"bytes after the CSR", csrWith(func(q *api.CsrRequest) { q.Csr = append(bytes.Clone(q.Csr), 0) }), 422, api.ProblemCsrInvalid, ""},
		{"bad signature", csrWith(func(q *api.CsrRequest) { q.Csr = tampered }), 422, api.ProblemCsrInvalid, ""},
		{"another company", subject("C", "CN", "O", "另一家有限公司"), 422, api.ProblemCsrInvalid, "company"},
		{"another company's code", subject("O", testCompany, "organizationIdentifier", "NTRCN-91000000MA0000002H"), 422, api.ProblemCsrInvalid, "organizationIdentifier"},
		{"another e-mail address", csrWith(func(q *api.CsrRequest) { q.Csr = foreignEmail(t) }), 422, api.ProblemCsrInvalid, "e-mail"},
		{"a reused key", csrWith(func(q *api.CsrRequest) { q.Csr = used.csr.Csr }), 409, api.ProblemKeyReused, ""},
		{"SO PIN in clear", func() answer {
			changed := *w
			changed.escrowID, changed.escrow.SealedSoPin = uuid.NewString(), []byte("12345678")
			return changed.putEscrow()
		}, 422, api.ProblemInvalidContent, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			a := row.send()
			wantProblem(t, a, row.status, row.want)
			if row.detail != "" && (a.problem.Detail == nil || !strings.Contains(*a.problem.Detail, row.detail)) {
				t.Errorf("the detail does not tell of %q: %s", row.detail, a.body)
			}
			if bytes.Contains(a.body, []byte("12345678")) {
				t.Errorf("the answer repeats a secret: %s", a.body)
			}
		})
	}
	r.wantState("BAD-001", api.LEASED)
	w.take(must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK)) // after all that it is still in order
}

func TestEveryWrongFieldIsNamed(t *testing.T) { onBothEngines(t, testEveryWrongFieldIsNamed) }

func testEveryWrongFieldIsNamed(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	a := s.send(http.MethodPut, "/session", []byte(`{"instanceId":"x","bootId":"","protocolVersion":0,"surprise":1,"other/~":2,
		"slots":[{"tokenModel":"m","algorithms":"rsa","worstKeyGenerationSeconds":0.5,"extra":true}]}`))
	wantProblem(t, a, http.StatusUnprocessableEntity, api.ProblemInvalidContent)
	want := []string{"/bootId", "/instanceId", "/other~1~0", "/protocolVersion", "/slots/0/algorithms", "/slots/0/extra", "/slots/0/worstKeyGenerationSeconds", "/surprise", "/version"}
	if diff := cmp.Diff(want, a.pointers()); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	for _, path := range []string{"result", "csr"} {
		a := s.send(http.MethodPut, "/units/XYZ-001/generations/1/"+path, []byte(`{}`))
		wantProblem(t, a, http.StatusUnprocessableEntity, api.ProblemInvalidContent)
		if len(a.pointers()) < 3 {
			t.Errorf("%s names only %v", path, a.pointers())
		}
	}
}

func TestOrderRules(t *testing.T) { onBothEngines(t, testOrderRules) }

func testOrderRules(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	admin := func(id string, body any, headers ...string) answer {
		return send(t, r.spec, &http.Client{Timeout: 10 * time.Second}, r.srv.AdminURL(), http.MethodPut, "/orders/"+id, body,
			append([]string{"Authorization", "Bearer " + r.srv.AdminToken()}, headers...)...)
	}
	company := func(o map[string]any) map[string]any { return o["company"].(map[string]any) }
	rows := []struct {
		name   string
		mutate func(map[string]any)
		want   []string
	}{
		{"id is not that of the path", func(o map[string]any) { o["orderId"] = "OTHER" }, []string{"/orderId"}},
		{"wrong check character", func(o map[string]any) { company(o)["uscc"] = "91000000MA0000001A" }, []string{"/company/uscc"}},
		{"letter outside the alphabet", func(o map[string]any) { company(o)["uscc"] = "91000000MAO000001R" }, []string{"/company/uscc"}},
		{"code too short", func(o map[string]any) { company(o)["uscc"] = "91000000MA000000" }, []string{"/company/uscc"}},
		{"company longer than O may be", func(o map[string]any) { company(o)["name"] = strings.Repeat("长", 65) }, []string{"/company/name"}},
		{"control character", func(o map[string]any) { company(o)["name"] = "甲\u202e乙公司" }, []string{"/company/name"}},
		{"line break in an address", func(o map[string]any) {
			o["shipping"].(map[string]any)["recipient"].(map[string]any)["address"] = "一号\n二号楼三层"
		}, []string{"/shipping/recipient/address"}},
		{"blank at the end", func(o map[string]any) { o["handler"].(map[string]any)["name"] = "甲 " }, []string{"/handler/name"}},
		{"e-mail not ASCII", func(o map[string]any) { o["handler"].(map[string]any)["email"] = "甲@example.com" }, []string{"/handler/email"}},
		{"approved in the future", func(o map[string]any) {
			o["approval"].(map[string]any)["approvedAt"] = time.Now().Add(time.Hour).Format(time.RFC3339)
			o["dueAt"] = time.Now().Add(48 * time.Hour).Format(time.RFC3339)
		}, []string{"/approval/approvedAt"}},
		{"due before it was approved", func(o map[string]any) { o["dueAt"] = "2026-11-18T10:20:00+08:00" }, []string{"/dueAt"}},
		{"no such day", func(o map[string]any) { o["dueAt"] = "2026-02-30T10:20:00Z" }, []string{"/dueAt"}},
		{"leap second", func(o map[string]any) { o["dueAt"] = "2026-12-31T23:59:60Z" }, []string{"/dueAt"}},
		{"quantity 0", func(o map[string]any) { o["quantity"] = 0 }, []string{"/quantity"}},
		{"quantity 501", func(o map[string]any) { o["quantity"] = 501 }, []string{"/quantity"}},
		{"quantity as text", func(o map[string]any) { o["quantity"] = "8" }, []string{"/quantity"}},
		{"null", func(o map[string]any) { o["handler"] = nil }, []string{"/handler"}},
		{"an unknown field", func(o map[string]any) { o["idNumber"] = "x" }, []string{"/idNumber"}},
		{"much at once", func(o map[string]any) {
			delete(o, "productCode")
			o["validityYears"], o["dueAt"] = 11, "tomorrow"
			company(o)["uscc"], company(o)["name"] = "91000000MA0000001A", "x"
			o["approval"] = "yes"
		}, []string{"/approval", "/company/name", "/company/uscc", "/dueAt", "/productCode", "/validityYears"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			o := order("RULES", 1)
			row.mutate(o)
			a := admin("RULES", o)
			wantProblem(t, a, http.StatusUnprocessableEntity, api.ProblemInvalidContent)
			if diff := cmp.Diff(row.want, a.pointers()); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
	if units, err := r.admin.Units(t.Context(), "", ""); err != nil || len(units) != 0 {
		t.Errorf("refused orders left %d units: %v", len(units), err)
	}

	if a := admin("RULES", order("RULES", 2)); a.status != http.StatusCreated {
		t.Errorf("a new order: %v", a)
	}
	same := order("RULES", 2)
	same["dueAt"] = "2026-11-23T10:00:00Z" // the same moment
	if a := admin("RULES", same); a.status != http.StatusOK {
		t.Errorf("the same order: %v", a)
	}
	wantProblem(t, admin("RULES", order("RULES", 3)), http.StatusConflict, api.ProblemOrderConflict)
	wantProblem(t, admin("lower", order("lower", 3)), http.StatusBadRequest, api.ProblemBadRequest)
	wantProblem(t, admin("RULES", []byte(fmt.Sprintf("%70000s", "{}"))), http.StatusRequestEntityTooLarge, api.ProblemContentTooLarge)
}
