package console

// Stockroom is what the page shows of delivered tokens. It is asked several times a second
// and must not wait.
type Stockroom interface {
	Stock() Stock
}

// Stock is the whitelist of delivered tokens in numbers, and the tokens that are here now.
type Stock struct {
	// Read says that the list was read; before that nothing is known.
	Read bool
	// DeliveredOnly says that no other tokens are written.
	DeliveredOnly bool
	Lots          []Lot
	Here          []Found
	// Unlisted are tokens that were seen here since the start and are on no list, as long
	// as they are not.
	Unlisted []Found
}

// Lot is a supplier's lot: how many tokens of it were delivered, and what became of them.
type Lot struct {
	Name, Model                                             string
	Delivered, Blank, AtWork, Written, Quarantined, Refused int
}

// Found is a token that was seen in a bay.
type Found struct {
	Bay, Token, Model string
	// Casing and Lot are those of the list; "" for a token that is not on it.
	Casing, Lot string
	Listed      bool
}

// stock is the screen of blank tokens by lot, and of which token is which.
func (c *Console) stock(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "stock")
	s := c.Stockroom.Stock()
	if !s.Read {
		f.add("none", "none", map[string]any{"Text": "stock.unread"})
		return f.frame, f.err
	}
	var sum Lot
	for _, l := range s.Lots {
		sum.Delivered, sum.Blank, sum.AtWork, sum.Written = sum.Delivered+l.Delivered, sum.Blank+l.Blank, sum.AtWork+l.AtWork, sum.Written+l.Written
		sum.Quarantined, sum.Refused = sum.Quarantined+l.Quarantined, sum.Refused+l.Refused
	}
	f.add("unlisted", "stock-unlisted", map[string]any{"S": s})
	f.add("lots", "stock-lots", map[string]any{"S": s, "Sum": sum, "Kinds": []string{"delivered", "blank", "at-work", "written", "quarantined", "refused"}})
	f.add("here", "stock-here", map[string]any{"Here": s.Here})
	return f.frame, f.err
}
