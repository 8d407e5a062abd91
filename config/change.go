package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// livePrefixes are the keys that count without a restart: the daemon can be given other
// products, and how letters and parcels are made is read anew by the command that makes one.
func livePrefixes() []string { return []string{"products", "mailer", "packing"} }

// TakeLive takes over from next what counts without a restart.
func (s *Station) TakeLive(next *Station) {
	s.Products, s.Mailer, s.Packing = next.Products, next.Mailer, next.Packing
}

// Changed names the keys whose values differ, in the order of docs/configuration.md with
// places in lists, such as "modules[0].path": those that count without a restart, and those
// that need one. A list with another number of entries is named as a whole. No value is told.
func Changed(before, after *Station) (live, restart []string) {
	for _, key := range differences("", reflect.ValueOf(*before), reflect.ValueOf(*after)) {
		if slices.ContainsFunc(livePrefixes(), func(p string) bool {
			return key == p || strings.HasPrefix(key, p+".") || strings.HasPrefix(key, p+"[")
		}) {
			live = append(live, key)
		} else {
			restart = append(restart, key)
		}
	}
	return live, restart
}

func differences(path string, a, b reflect.Value) (keys []string) {
	switch {
	case reflect.DeepEqual(a.Interface(), b.Interface()):
		return nil
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			if key := a.Type().Field(i).Tag.Get("yaml"); key != "-" {
				keys = append(keys, differences(strings.TrimPrefix(path+"."+key, "."), a.Field(i), b.Field(i))...)
			}
		}
		return keys
	case a.Kind() == reflect.Slice && a.Len() == b.Len() && a.Type().Elem().Kind() == reflect.Struct:
		for i := range a.Len() {
			keys = append(keys, differences(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i))...)
		}
		return keys
	case a.Kind() == reflect.Map:
		return changedEntries(path, a, b)
	}
	return []string{path}
}

// changedEntries is differences for a map with keys that are text.
func changedEntries(path string, a, b reflect.Value) (keys []string) {
	names := map[string]bool{}
	for _, m := range []reflect.Value{a, b} {
		for _, k := range m.MapKeys() {
			names[k.String()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x, y := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
		if !x.IsValid() || !y.IsValid() || !x.Equal(y) {
			keys = append(keys, path+"."+name)
		}
	}
	return keys
}
