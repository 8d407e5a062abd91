package central

// stationPolicies says for every station operation who may call it and how much
// it reads. An operation that is missing here keeps the server from starting.
func (s *Server) stationPolicies() map[string]policy {
	return map[string]policy{
		"GetMeta":        {caller: anybody},
		"GetTrust":       {caller: aStation},
		"PutSession":     {caller: aStation, limit: smallBody},
		"PostClaims":     {caller: aStation, limit: smallBody},
		"PostHeartbeat":  {caller: aStation, limit: largeBody},
		"PostRelease":    {caller: aStation, limit: smallBody},
		"PutEscrow":      {caller: aStation, limit: largeBody},
		"PutEscrowToken": {caller: aStation, limit: smallBody},
		"PutCsr":         {caller: aStation, limit: largeBody},
		"GetCertificate": {caller: aStation},
		"PutResult":      {caller: aStation, limit: largeBody},
		"PostAdopt":      {caller: aStation, limit: smallBody},
		"PutMailer":      {caller: aStation, limit: smallBody},
		"PutShipment":    {caller: aStation, limit: smallBody},
		"PostShipped":    {caller: aStation, limit: largeBody},
		"GetRecord":      {caller: aStation},
		"PutRecord":      {caller: aStation, limit: largeBody},

		// A join token and the TPM say who it is.
		"PostEnrollment":      {caller: anybody, limit: smallBody},
		"PostEnrollmentProof": {caller: anybody, limit: smallBody},
		"PostRenewal":         {caller: aStationOnce, limit: smallBody},
	}
}
