package identity

import (
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// DefaultDevice is the TPM with the kernel's resource manager, which lets programs share it.
const DefaultDevice = "/dev/tpmrm0"

func openDevice(path string) (transport.TPMCloser, error) { return linuxtpm.Open(path) }
