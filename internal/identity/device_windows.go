package identity

import (
	"errors"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/windowstpm"
)

// DefaultDevice is the TPM Base Services, which let programs share the TPM.
const DefaultDevice = "tbs"

func openDevice(path string) (transport.TPMCloser, error) {
	if path != DefaultDevice {
		return nil, errors.New("on Windows a TPM is reached as " + DefaultDevice)
	}
	return windowstpm.Open()
}
