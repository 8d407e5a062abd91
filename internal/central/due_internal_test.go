package central

import (
	"encoding/json"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
)

// TestFixedDigestStays: a server of before must not see its orders as changed.
func TestFixedDigestStays(t *testing.T) {
	const document = `{"orderId":"FIXED","productCode":"CERT272353","validityYears":1,"quantity":2,
		"company":{"name":"示例客车配件有限公司","uscc":"91000000MA0000001R"},"handler":{"name":"经办人甲"},
		"shipping":{"carrier":"SF","freightCollect":true,"recipient":{"name":"收件人乙","phone":"000-0000-0000","address":"示例省示例市"}},
		"approval":{"approvedBy":"审核员丙","approvedAt":"2026-11-18T10:20:00+08:00"},"dueAt":"2026-11-23T18:00:00+08:00"}`
	var o api.Order
	if err := json.Unmarshal([]byte(document), &o); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := fixedDigest(o)
		if err != nil || got != "05c33a15cf99ac064e80351ab83e3e353f83ca26971d26406477dbca298a6f54" {
			t.Errorf("%s, %v", got, err)
		}
		o.DueAt = nil
	}
}
