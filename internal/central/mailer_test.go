package central_test

import (
	"net/http"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
)

// TestMailerAndParcel: letter and parcel of a unit leave by separate persons, whoever comes first.
func TestMailerAndParcel(t *testing.T) { onBothEngines(t, testMailerAndParcel) }

func testMailerAndParcel(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s, thief := r.station("bay-1"), r.station("bay-2")
	mailer := api.PinMailer
	installed := func(order string) *work {
		w := s.one(order).issued()
		w.result.PinDelivery, w.result.SealedUserPin, w.result.UserPinRecipients = &mailer, nil, nil
		must[api.UnitState](t, w.putResult(), http.StatusOK)
		w.anchor()
		return w
	}
	confirm := func(by *station, unit, person string) answer {
		return by.send("PUT", "/units/"+unit+"/generations/1/mailer", api.MailerRequest{ConfirmedBy: person})
	}
	ship := func(w *work, unit, person string) answer {
		return s.send("PUT", "/units/"+unit+"/shipment", api.ShipmentRequest{Generation: 1, Waybill: "SF0000000001", Scans: []api.TokenSerial{w.csr.TokenSerial}, PackedBy: person})
	}

	letter := installed("LETTER")
	for range 2 { // the same again changes nothing
		must[api.UnitState](t, confirm(s, "LETTER-001", "p1"), http.StatusOK)
	}
	must[api.UnitState](t, confirm(s, "LETTER-001", "p2"), http.StatusOK) // of a reprint
	for _, person := range []string{"p1", "p2"} {
		wantProblem(t, ship(letter, "LETTER-001", person), http.StatusConflict, api.ProblemSamePerson)
	}
	r.wantState("LETTER-001", api.INSTALLED)
	must[api.UnitState](t, ship(letter, "LETTER-001", "p3"), http.StatusOK)
	must[api.UnitState](t, ship(letter, "LETTER-001", "p3"), http.StatusOK)

	parcel := installed("PARCEL")
	must[api.UnitState](t, ship(parcel, "PARCEL-001", "p1"), http.StatusOK)
	wantProblem(t, confirm(s, "PARCEL-001", "p1"), http.StatusConflict, api.ProblemSamePerson)
	must[api.UnitState](t, confirm(s, "PARCEL-001", "p2"), http.StatusOK)

	sealed := s.one("SEALED").issued()
	must[api.UnitState](t, sealed.putResult(), http.StatusOK)
	s.one("EARLY").issued()
	for name, row := range map[string]struct {
		answer answer
		status int
		want   api.ProblemType
	}{
		"another station":        {confirm(thief, "LETTER-001", "p1"), 403, api.ProblemForbidden},
		"a sealed PIN":           {confirm(s, "SEALED-001", "p1"), 409, api.ProblemUnitState},
		"not installed":          {confirm(s, "EARLY-001", "p1"), 409, api.ProblemUnitState},
		"an unknown unit":        {confirm(s, "NOWHERE-001", "p1"), 404, api.ProblemNotFound},
		"nobody":                 {confirm(s, "LETTER-001", ""), 422, api.ProblemInvalidContent},
		"a name, no person's id": {confirm(s, "LETTER-001", "经办人甲"), 422, api.ProblemInvalidContent},
	} {
		t.Run(name, func(t *testing.T) { wantProblem(t, row.answer, row.status, row.want) })
	}
}
