package keycheck
import ("testing";"crypto/elliptic";"time")
func TestZZ(t *testing.T){ m:=new(Moduli); end:=time.Now().Add(75*time.Second); r,e:=0,0
 for time.Now().Before(end){ k:=newRSA(t,2048); if err:=gate().Check(k,Want{ModulusBits:2048});err!=nil{t.Error(err)}; if err:=m.Admit(Known{"x",k});err!=nil{t.Error(err)}; r++
  for range 20 {k:=newEC(t,elliptic.P256()); if err:=gate().Check(k,p256());err!=nil{t.Error(err)}; e++}}
 t.Log(r,e)}
