//go:build !windows

package main

import "context"

// underManager does the work: who starts it elsewhere wants nothing more.
func underManager(ctx context.Context, work func(ctx context.Context, managed bool) error) error {
	return work(ctx, false)
}
