package label

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Shipping is what a carrier's tool wants to know of a parcel.
type Shipping struct {
	OrderID string `json:"orderId"`
	// Carrier is as the contract has it: SF is 顺丰.
	Carrier        string `json:"carrier"`
	FreightCollect bool   `json:"freightCollect"` // 到付
	Waybill        string `json:"waybill"`
	Company        string `json:"company"`
	Name           string `json:"name"`
	Phone          string `json:"phone"`
	Address        string `json:"address"`
	Keys           int    `json:"keys"`
}

// payment is who pays, as the carrier's tool shows it.
func (s Shipping) payment() string {
	if s.FreightCollect {
		return "到付"
	}
	return "寄付"
}

// CSV writes a header and the parcels, in UTF-8. Spreadsheets take Chinese for something
// else unless a byte order mark is before it; other programs may not want one.
func CSV(w io.Writer, parcels []Shipping, mark bool) error {
	if mark {
		if _, err := io.WriteString(w, "\ufeff"); err != nil {
			return err
		}
	}
	out := csv.NewWriter(w)
	out.UseCRLF = true // RFC 4180, 2
	rows := [][]string{{"订单号", "承运商", "付款方式", "运单号", "单位", "收件人", "电话", "地址", "数量"}}
	for _, s := range parcels {
		rows = append(rows, []string{s.OrderID, s.Carrier, s.payment(), s.Waybill, s.Company, s.Name, s.Phone, s.Address, fmt.Sprint(s.Keys)})
	}
	for _, row := range rows {
		for i := range row {
			row[i] = inert(row[i])
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// inert keeps a spreadsheet from taking a cell for a formula, by an apostrophe before it. A
// full-width sign counts as well: some take it for the other. So does what only follows blanks.
func inert(cell string) string {
	cell = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, cell)
	if strings.IndexAny(strings.TrimSpace(cell), "=+-@＝＋－＠") == 0 {
		return "'" + cell
	}
	return cell
}

// JSON writes the parcels for a program.
func JSON(w io.Writer, parcels []Shipping) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(parcels)
}
