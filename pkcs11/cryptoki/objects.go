package cryptoki

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Objects implements pkcs11.Token.
func (t *token) Objects(ctx context.Context, q pkcs11.Query) ([]pkcs11.Object, error) {
	const op = "C_FindObjects"
	if err := t.enter(ctx, op); err != nil {
		return nil, err
	}
	defer t.leave()
	sess, err := t.session(op)
	if err != nil {
		return nil, err
	}
	handles, err := t.findObjects(sess, queryTemplate(q), 0)
	if err != nil {
		return nil, err
	}
	objects := make([]pkcs11.Object, 0, len(handles))
	for _, h := range handles {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("C_GetAttributeValue: %w", err)
		}
		read := t.readObject
		if q.Shallow {
			read = t.glance
		}
		o, err := read(sess, h, q.Class)
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// Destroy implements pkcs11.Token.
func (t *token) Destroy(ctx context.Context, q pkcs11.Query) (int, error) {
	const op = "C_DestroyObject"
	if q.Class == nil && len(q.ID) == 0 {
		return 0, &pkcs11.Error{Op: op, Kind: pkcs11.ErrGeneral, Detail: "neither class nor id is given, which would destroy everything"}
	}
	if err := t.enter(ctx, op); err != nil {
		return 0, err
	}
	defer t.leave()
	sess, err := t.verified(op)
	if err != nil {
		return 0, err
	}
	handles, err := t.findObjects(sess, queryTemplate(q), 0)
	if err != nil {
		return 0, err
	}
	if q.Passing { // without those that are kept
		q.Passing = false
		kept, err := t.findObjects(sess, queryTemplate(q), 0)
		if err != nil {
			return 0, err
		}
		handles = slices.DeleteFunc(handles, func(h p11.ObjectHandle) bool { return slices.Contains(kept, h) })
	}
	t.made = nil
	for done, h := range handles {
		if err := ctx.Err(); err != nil {
			return done, fmt.Errorf("%s: %w", op, err)
		}
		if err := t.call(op, t.m.ctx.DestroyObject(sess, h)); err != nil {
			return done, err
		}
	}
	return len(handles), nil
}

func queryTemplate(q pkcs11.Query) []*p11.Attribute {
	var template []*p11.Attribute
	if !q.Passing {
		template = append(template, p11.NewAttribute(p11.CKA_TOKEN, true))
	}
	if q.Class != nil {
		template = append(template, p11.NewAttribute(p11.CKA_CLASS, uint(*q.Class)))
	}
	if len(q.ID) > 0 {
		template = append(template, p11.NewAttribute(p11.CKA_ID, []byte(q.ID)))
	}
	return template
}

// findObjects returns the handles that match. With a limit that is not 0 it asks once, for so
// many: a module that gives them one by one then shows the first alone.
// The search is ended whatever happens in it: an open one makes the next search
// on the session fail with CKR_OPERATION_ACTIVE.
func (t *token) findObjects(sess p11.SessionHandle, template []*p11.Attribute, limit int) (found []p11.ObjectHandle, err error) {
	if err := t.call("C_FindObjectsInit", t.m.ctx.FindObjectsInit(sess, template)); err != nil {
		return nil, err
	}
	defer func() {
		final := t.m.ctx.FindObjectsFinal(sess)
		if err == nil && final != nil {
			found, err = nil, t.call("C_FindObjectsFinal", final)
		}
	}()
	const batch = 64
	max := cmp.Or(limit, batch)
	for {
		some, _, err := t.m.ctx.FindObjects(sess, max)
		if err != nil {
			return nil, t.call("C_FindObjects", err)
		}
		found = append(found, some...)
		// A short answer does not mean the end on every module; an empty one does.
		if len(some) == 0 || limit > 0 {
			return found, nil
		}
	}
}

// findOne finds the object of a class and id. It sees that it is the only one where the module
// shows two at once; who must know for sure lists all of them.
func (t *token) findOne(op string, sess p11.SessionHandle, class pkcs11.ObjectClass, id pkcs11.KeyID) (p11.ObjectHandle, error) {
	if len(id) == 0 {
		return 0, &pkcs11.Error{Op: op, Kind: pkcs11.ErrNotFound, Detail: "no CKA_ID is given"}
	}
	handles, err := t.findObjects(sess, queryTemplate(pkcs11.Query{Class: &class, ID: id}), 2)
	if err != nil {
		return 0, err
	}
	switch len(handles) {
	case 1:
		return handles[0], nil
	case 0:
		return 0, &pkcs11.Error{Op: op, Kind: pkcs11.ErrNotFound, Detail: "no object with the id " + id.String()}
	default:
		return 0, &pkcs11.Error{Op: op, Kind: pkcs11.ErrAmbiguous, Detail: "several objects with the id " + id.String()}
	}
}
