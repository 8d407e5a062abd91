package central

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// stationCaller is the station that calls, and the certificate by which it is known.
type stationCaller struct {
	station     store.Station
	certificate *x509.Certificate
}

// callerOf is who calls. Only operations of aStation and aStationOnce ask.
func callerOf(ctx context.Context) stationCaller { return infoOf(ctx).caller }

func stationOf(ctx context.Context) string { return callerOf(ctx).station.Name }

// keyOf is the public key of the certificate by which the station that calls is known.
func keyOf(ctx context.Context) crypto.PublicKey { return callerOf(ctx).certificate.PublicKey }

// drains says whether the station that calls is to finish what it has and no more.
func drains(ctx context.Context) bool { return callerOf(ctx).station.Drain }

// authenticateStation checks the client certificate. The handshake only asked for
// it and saw that the caller has its key.
func (s *Server) authenticateStation(r *http.Request, who caller) error {
	switch who {
	case anybody:
		return nil
	case aStation, aStationOnce:
	default:
		return problem(api.ProblemForbidden, "not on this listener")
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return problem(api.ProblemUnauthenticated, "a client certificate under the station root is needed")
	}
	cert := r.TLS.PeerCertificates[0]
	verify := s.peerName
	if who == aStationOnce {
		verify = func(_ context.Context, cert *x509.Certificate) (string, error) {
			return s.stationRoot.VerifyExpired(cert)
		}
	}
	name, err := verify(r.Context(), cert)
	if err != nil {
		return problem(api.ProblemUnauthenticated, "the client certificate is not accepted: "+err.Error())
	}
	station, err := s.store.Caller(r.Context(), name)
	var refusal *store.Refusal
	switch {
	case errors.As(err, &refusal):
		return problem(api.ProblemForbidden, "this station is not known here")
	case err != nil:
		return err
	case station.Revoked:
		return problem(api.ProblemForbidden, "this station is revoked")
	// By the key: after a renewal connections with the certificate before go on, and the
	// answer may have been lost.
	case station.PublicKeySHA256 != hexSHA256(cert.RawSubjectPublicKeyInfo):
		return problem(api.ProblemForbidden, "the station has another key now than that of this certificate")
	}
	seen := infoOf(r.Context())
	seen.station, seen.caller = name, stationCaller{station, cert}
	return nil
}

// peer is who is at the other end of a connection. TLS has one certificate for each, so
// its signatures are checked once; its time and the station's record at every request.
type peer struct {
	mu   sync.Mutex
	name string
}

type peerKey struct{}

// withPeer gives each connection its peer.
func withPeer(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{})
}

func (s *Server) peerName(ctx context.Context, cert *x509.Certificate) (string, error) {
	p, ok := ctx.Value(peerKey{}).(*peer)
	if !ok {
		return s.stationRoot.Verify(cert)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := s.cfg.Clock(); p.name != "" && !now.Before(cert.NotBefore) && !now.After(cert.NotAfter) {
		return p.name, nil
	}
	name, err := s.stationRoot.Verify(cert)
	if err == nil {
		if p.name == "" {
			s.connected.Add(1)
		}
		p.name = name
	}
	return name, err
}

// authenticateAdmin checks the bearer token (RFC 6750, 2.1).
func (s *Server) authenticateAdmin(r *http.Request, who caller) error {
	if who != anAdmin {
		return problem(api.ProblemForbidden, "not on this listener")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.adminToken))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return problem(api.ProblemUnauthenticated, "a bearer token is needed; it is in the file "+TokenFile+" of the server's data directory")
	}
	return nil
}

// withHosts lets through only requests for the listener's own names: a page in a
// browser on this machine can make any name point to the loopback (DNS rebinding).
func withHosts(allowed []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range allowed {
			if strings.EqualFold(r.Host, h) {
				next.ServeHTTP(w, r)
				return
			}
		}
		fail(w, r, problem(api.ProblemForbidden, "the Host header names another server"))
	})
}

// adminHosts are the names under which the administration listener may be called.
func adminHosts(addr net.Addr) []string {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil
	}
	return []string{addr.String(), net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port), net.JoinHostPort("localhost", port)}
}

// TokenFile holds the administration token, in the data directory.
const TokenFile = "admin.token"

// openToken reads the token, or makes one at first start.
func openToken(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return "", fmt.Errorf("make the administration token: %w", err)
		}
		token := base64.RawURLEncoding.EncodeToString(b)
		return token, keyfile.WriteNew(path, keyfile.File{Content: []byte(token + "\n"), Secret: true})
	}
	if err != nil {
		return "", fmt.Errorf("read the administration token: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the administration token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if len(token) < 32 {
		return "", fmt.Errorf("%s holds no token of at least 32 characters: remove it to have a new one made", path)
	}
	return token, nil
}
