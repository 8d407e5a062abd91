package console

// shownEvents is how many events of an order its screen shows.
const shownEvents = 200

// order is the screen of one order: its units, their tokens and certificates, its history.
func (c *Console) order(id string) screen {
	return func(w *words, p Person) (frame, error) {
		f := c.begin(w, p, "order")
		o, err := c.Books.Order(id)
		if err != nil {
			return frame{}, err
		}
		if o == nil {
			f.add("none", "unknown", map[string]any{"Asked": id})
			return f.frame, f.err
		}
		f.order(o, nil, p)
		return f.frame, f.err
	}
}

// order adds the parts of an order, as this person may see them; units that were looked for by a
// number are marked.
func (f *framing) order(o *Order, found map[string]bool, p Person) {
	marks := due(o.Due, f.c.Now())
	if o.Done() == len(o.Units) {
		marks = Marks{Due: o.Due}
	}
	marks.Urgent = o.Urgent
	bays := map[string]string{}
	for _, b := range f.c.Floor.Bays() {
		if b.Job == nil {
			continue
		}
		bays[b.Job.ID] = b.Name
		if b.Job.Order == o.ID {
			marks.Urgent = b.Job.Urgent // newer than what is written down
		}
	}
	f.add("order", "whole", map[string]any{"O": o, "Marks": marks, "Tokens": f.c.toLabel(o, p)})
	for _, u := range o.Units {
		f.add("unit "+u.ID, "key", map[string]any{"U": u, "Bay": bays[u.Job], "Icon": stateIcon(u.State), "Found": found[u.ID]})
	}
	history := o.History[:min(len(o.History), shownEvents)]
	f.add("history", "history", map[string]any{"Acts": history, "Order": o.ID, "More": len(o.History) > len(history)})
}

// toLabel are the tokens of an order whose labels this person may have printed together, in the
// order of its units.
func (c *Console) toLabel(o *Order, p Person) (tokens []string) {
	if c.Labels == nil || c.OneAtATime || !p.may(labellers()) {
		return nil
	}
	for _, u := range o.Units {
		if u.State == "finished" && u.Token != "" {
			tokens = append(tokens, u.Token)
		}
	}
	return tokens
}

// stateIcon stands beside the word for a job's state.
func stateIcon(state string) string {
	switch state {
	case "finished":
		return icon(BayDone)
	case "failed", "quarantined":
		return icon(BayQuarantined)
	case "running":
		return icon(BayWorking)
	case "elsewhere":
		return icon(BayEmpty)
	}
	return icon(BayWaiting)
}
