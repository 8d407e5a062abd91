// Package soak lets a station work for as long as asked, with real programs in processes of
// their own, while tokens are pulled and put back, modules fail, the configuration is reloaded
// and the central server is restarted, and measures whether anything grows that must not.
// It has tests only, and must not know how the programs do their work.
package soak
