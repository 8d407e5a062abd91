package main

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// english reports whether a text in Chinese has words or punctuation of English left. What a file
// says is quoted, names stand in lists with commas, and commands are typed as they are.
func english(own string) bool {
	rest := regexp.MustCompile(`"[^"]*"|usbkey(d|-central) [a-z -]+|timedatectl set-ntp true|systemctl restart pcscd|chmod go`).ReplaceAllString(own, "")
	return regexp.MustCompile(`[A-Za-z]+ [a-z]{2,}|\p{Han}[:;,]|: \p{Han}`).MatchString(rest)
}

// checkedInChinese is what config check says of a configuration in a folder with some files, with
// DIR for the folder.
func checkedInChinese(t *testing.T, yaml string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{
		"station.yaml": strings.ReplaceAll(yaml, "DIR", dir), "module.so": "module", "notes.txt": "no PEM", "empty.pin": "", "lines.pin": "1234\n5678\n",
		"bad.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")})),
		"key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("none")})),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "notes.txt"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	code := execute([]string{"--config", filepath.Join(dir, "station.yaml"), "config", "check"}, strings.NewReader(""), &out, &errOut, chinese(), notShutIn)
	if code != exitConfig || out.String() != "" {
		t.Errorf("exit code %d: %s", code, &out)
	}
	said := strings.ReplaceAll(errOut.String(), dir, "DIR")
	for line := range strings.Lines(said) {
		if !han(line) || english(line) {
			t.Errorf("English is left: %s", line)
		}
	}
	return said
}

// TestFaultsOfAConfigurationInChinese: a fault of its shape, of its values, of the files that it
// names and of its certificates, each with its place and values as they are.
func TestFaultsOfAConfigurationInChinese(t *testing.T) {
	for name, row := range map[string][2]string{
		"shape": {`station: 1
stateDir:
colour: red
modules: {}
central: {urls: https://a}
identity: {tier: &a tpm, pcrs: ["1"]}
products: [{cod: X}]
labels: {oneAtATime: yes, patience: 5}
journal: []
1: a
`, `usbkeyd: DIR/station.yaml：第 1 行第 10 列：这里应是文本；请加引号
第 2 行第 10 列：没有值：请填写，或删去这一项
第 3 行第 1 列：没有配置项 "colour"；这里可用：station, stateDir, central, identity, recipients, certificateTrust, modules, tokenProfiles, products, mailer, console, stock, packing, labels, metrics, journal
第 4 行第 10 列：这里应是列表：[a, b]，或以 - 开头的若干行
第 5 行第 17 列：这里应是列表：[a, b]，或以 - 开头的若干行
第 6 行第 18 列：不支持锚点、别名、合并和标签（&、*、<<、!）：请直接写出内容
第 6 行第 33 列：这里应是整数，不加引号
第 7 行第 13 列：没有配置项 "cod"；这里可用：code, key, certificate, userPin, tokenLabel
第 8 行第 22 列：这里应是 true 或 false
第 8 行第 37 列：这里应是时长，如 20s、10m 或 24h
第 9 行第 10 列：这里应是配置项和值，如 key: value
第 10 行第 1 列：这里应是普通的配置项名称
改正后会检查其余内容
`},
		"values": {`station: Demo
stateDir: state
central: {urls: ["http://a", "https://u@b", "https://c", "https://c", "https://%"], trust: notes.txt, certificate: "", key: ""}
identity: {tier: file, pcrs: [1]}
recipients: {userPin: ["1", "1111111111111111111111111111111111111111111111111111111111111111", "1111111111111111111111111111111111111111111111111111111111111111"], soPin: []}
certificateTrust: key.pem
modules:
  - {name: bay-01, path: DIR/module.so, env: {LD_PRELOAD: /x}, tokens: 65, trust: nobody, sha256: "1"}
  - {name: bay-01, path: module.so}
  - {name: bay-03, path: DIR/nowhere.so}
  - {name: bay-04, path: DIR}
  - {name: bay-05, path: DIR/module.so, env: {SOFTHSM2_CONF: ""}}
  - {name: bay-06, path: DIR/module.so, env: {SOFTHSM2_CONF: /a}}
  - {name: bay-07, path: DIR/module.so, env: {SOFTHSM2_CONF: /a}}
tokenProfiles:
  - name: all
    factorySoPinFile: empty.pin
    soPin: {length: 4, alphabet: aabb}
    deadlines: {call: 0s}
    omitAttributes: [EXTRACTABLE, CKA_ID, CKA_ID]
    factoryUserPinFile: lines.pin
    keyId: XX
  - {name: some, match: {manufacturer: "* x", model: " Card"}, initialise: false, factorySoPinFile: notes.txt, identity: colour}
  - {name: more, match: {manufacturer: "A manufacturer of a very long name", model: ""}, factorySoPinFile: nowhere.pin, userPin: change, forcesPinChange: true}
products:
  - code: lower
    key: {algorithm: dsa}
    certificate: {subject: [{type: "", value: ""}], validityTolerance: 9999h}
    userPin: {deny: [repeats, repeats, all], delivery: pigeon, firstPin: "1", alphabet: digit}
    tokenLabel: "{{.Nope}}"
  - {code: lower, tokenLabel: "{{.UnitID", userPin: {delivery: change-at-first-use}}
  - {code: "A B", tokenLabel: "{{.OrderID}}", userPin: {delivery: mailer, alphabet: "中文"}}
  - {code: "LONG", tokenLabel: "{{.OrderID}}-{{.UnitID}}"}
console: {port: 80, socket: console.sock, lockAfter: 1s, roles: {writer: {users: [-a, b, b]}}}
packing: {waybills: ["("], verify: sometimes}
mailer: {server: "printer:631", spool: spool, language: fr, font: DIR/nowhere.ttf}
labels: {size: 5x5, oneAtATime: true}
metrics: {port: 80}
journal: {keep: 1ms}
`, `usbkeyd: DIR/station.yaml：station：应为 1 至 63 个字符，只能用 a-z、0-9 和 -，首尾不能是 -
stateDir：需要绝对路径
central.urls[0]：网址必须以 https:// 开头
central.urls[1]：网址中只能有主机、端口和路径，不能有用户名、查询或片段
central.urls[3]：重复：请删去一个
central.urls[4]：不是 https://central.example.com:8443 这样的网址
central.trust：DIR/notes.txt 中没有 PEM 证书
central.certificate：需要填写文件路径
central.key：需要填写文件路径
identity.tier：device、pcrs 和 recovery 只用于等级 tpm：请删去，或改用该等级
recipients.userPin[0]：不是 SHA-256（64 位十六进制数）
recipients.userPin[2]：重复：请删去一个
recipients.soPin：需要 2 至 8 个，现有 0 个
certificateTrust：DIR/key.pem 中有 PEM 块 "PRIVATE KEY"；该文件只能放证书
modules[0].env.LD_PRELOAD：不允许设置这个变量；可用：KRYOPTIC_CONF, OPENSC_CONF, P11_KIT_SERVER_ADDRESS, PCSCLITE_CSOCK_NAME, SOFTHSM2_CONF, TPM2_PKCS11_STORE, TPM2_PKCS11_TCTI
modules[0].tokens：65 不在 1 至 64 之间
modules[0].trust："nobody" 无效；可用：root, owner
modules[0].sha256：不是 sha256sum 输出的 SHA-256（64 位十六进制数，字母小写）
modules[1].name："bay-01" 重复
modules[1].path：需要绝对路径
modules[2].path：无法查看 DIR/nowhere.so：没有这个文件或目录
modules[3].path：DIR 不是普通文件
modules[4].env.SOFTHSM2_CONF：需要填写不含控制字符的值
modules[6].path：与 modules[5] 是同一个库、同样的环境，会看到同样的令牌：请删去一个
tokenProfiles[0].match：适用于所有令牌；请指明厂商或型号
tokenProfiles[0].soPin.length：4 不在 6 至 64 之间
tokenProfiles[0].soPin.alphabet：'a' 出现两次，会比别的字符更常被抽到
tokenProfiles[0].factorySoPinFile：机密文件不可用：DIR/empty.pin：文件是空的：机密应写在其中，只占一行
tokenProfiles[0].deadlines.call：0s 不在 1s 至 10m0s 之间
tokenProfiles[0].factoryUserPinFile：只用于 userPin: change；请删去
tokenProfiles[0].keyId："XX" 不是 1 至 32 字节的十六进制数（字母小写）
tokenProfiles[0].omitAttributes[0]："EXTRACTABLE" 不是 CKA_EXTRACTABLE 这样的属性名
tokenProfiles[0].omitAttributes[2]：重复：请删去一个
tokenProfiles[1].match.manufacturer：* 只能在末尾
tokenProfiles[1].match.model：首尾有空格，不会与任何令牌相符：请删去
tokenProfiles[1].factorySoPinFile：机密文件不可用：DIR/notes.txt：权限是 0644：组和其他用户不得访问（chmod 600）
tokenProfiles[1].identity："colour" 无效；可用：serial, reader, single
tokenProfiles[1].userPin：不初始化令牌（initialise: false）时必须是 change：令牌已有用户 PIN 码
tokenProfiles[2].match.manufacturer：超过令牌能显示的 32 字节
tokenProfiles[2].match.model：应为完整的文本，或开头部分加 *
tokenProfiles[2].factorySoPinFile：机密文件不可用：无法打开 DIR/nowhere.pin：没有这个文件或目录
tokenProfiles[2].factoryUserPinFile：需要填写文件路径，文件中是要更改的 PIN 码（userPin: change）
tokenProfiles[2].forcesPinChange：只能与 userPin: init 同用，即由管理员设置 PIN 码
products[0].code：应为 1 至 32 个字符，以 A-Z 或 0-9 开头
products[0].key.algorithm："dsa" 无效；可用：rsa2048, rsa3072, rsa4096, ec-p256, ec-p384
products[0].certificate.subject[0].type：需要填写类型，如 CN
products[0].certificate.subject[0].value：需要填写值
products[0].certificate.keyUsage：至少需要一个
products[0].certificate.validityTolerance：9999h0m0s 不在 0s 至 744h0m0s 之间
products[0].userPin.alphabet：'i' 出现两次，会比别的字符更常被抽到
products[0].userPin.deny[1]：重复：请删去一个
products[0].userPin.deny[2]："all" 无效；可用：repeats, sequences, dates, order
products[0].userPin.delivery："pigeon" 无效；可用：sealed, mailer, change-at-first-use
products[0].userPin.firstPin：只用于 delivery: change-at-first-use；请删去
products[0].tokenLabel：没有字段 .Nope；可用：.OrderID, .UnitID, .Sequence, .Of, .Company.Name, .Company.USCC, .Handler.Name, .Handler.Email, .ProductCode
products[1].code：应为 1 至 32 个字符，以 A-Z 或 0-9 开头
products[1].code："lower" 重复
products[1].key.algorithm："" 无效；可用：rsa2048, rsa3072, rsa4096, ec-p256, ec-p384
products[1].certificate.subject：至少需要一个属性
products[1].certificate.keyUsage：至少需要一个
products[1].userPin.firstPin：需要 6 至 64 个可打印的 ASCII 字符，不含空格（delivery: change-at-first-use）
products[1].tokenLabel：模板：1：{{ 没有闭合：缺少 }}
products[2].code："A B"：只能用 A-Z、0-9、点、下划线和连字符
products[2].key.algorithm："" 无效；可用：rsa2048, rsa3072, rsa4096, ec-p256, ec-p384
products[2].certificate.subject：至少需要一个属性
products[2].certificate.keyUsage：至少需要一个
products[2].userPin.alphabet：'中' 不可用：只能是可打印的 ASCII 字符，不含空格
products[2].tokenLabel：每个单元必须不同：请用 {{.UnitID}}，或 {{.OrderID}} 加 {{.Sequence}}
products[3].key.algorithm："" 无效；可用：rsa2048, rsa3072, rsa4096, ec-p256, ec-p384
products[3].certificate.subject：至少需要一个属性
products[3].certificate.keyUsage：至少需要一个
products[3].tokenLabel："SAMPLE-ORDER-00000000001-SAMPLE-ORDER-00000000001-499" 有 53 字节，最多 32 字节
mailer.printer：需要打印队列的名称（见 lpstat -e）：1 至 127 个字符，只能用 A-Z、a-z、0-9、- 和 _
mailer.server：应为 CUPS 套接字的路径，或带端口的本机回环地址：PIN 码在打印之前不得离开本机
mailer.spool：需要绝对路径
mailer.font：无法查看 DIR/nowhere.ttf：没有这个文件或目录
mailer.language："fr" 无效；可用：zh-CN, en
console.roles.writer.users[0]：应为账号名：1 至 64 个字符，只能用 A-Z、a-z、0-9、. _ @ -，以字母或数字开头
console.roles.writer.users[2]：重复：请删去一个
console.port：80 不在 1024 至 65535 之间
console.socket：需要不超过 107 字节的绝对路径
console.lockAfter：1s 不在 1m0s 至 8h0m0s 之间
packing.waybills[0]：应为正则表达式（RE2）
packing.verify："sometimes" 无效；可用：several, always, never
labels.size：应为以毫米为单位的宽和高，30x20 至 210x210，如 50x30
labels.printer：逐把打印标签（oneAtATime）需要打印机
metrics.port：80 不在 1024 至 65535 之间
journal.keep：1ms 不在 1s 至 876000h0m0s 之间
改正后会检查其余内容
`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := checkedInChinese(t, row[0]); got != row[1] {
				t.Errorf("config check says\n%s, want\n%s", got, row[1])
			}
		})
	}
}

// TestFaultsOfFilesInChinese: what is looked at once the values are right.
func TestFaultsOfFilesInChinese(t *testing.T) {
	const good = `station: demo
stateDir: DIR/state
central: {urls: ["https://127.0.0.1:8443"], trust: bad.pem}
identity: {tier: file}
recipients:
  userPin: ["1111111111111111111111111111111111111111111111111111111111111111"]
  soPin: ["1111111111111111111111111111111111111111111111111111111111111111", "2222222222222222222222222222222222222222222222222222222222222222"]
certificateTrust: bad.pem
modules: [{name: bay-01, path: DIR/module.so}]
labels: {printer: labels, font: DIR/module.so}
products:
  - code: A
    key: {algorithm: ec-p256}
    certificate:
      subject: [{type: XX, value: x}, {type: C, value: china}, {type: CN, value: "{{.Nope}}"}, {type: O, value: "{{truncate 0 .UnitID}}"}, {type: C, value: cn}, {type: DC, value: 中}, {type: L, value: "{{with .Nothing}}{{end}}"}, {type: OU, value: "{{if eq .Of 1}}x{{end}}"}, {type: ST, value: "{{range .UnitID}}{{end}}"}, {type: serialNumber, value: " a"}]
      emailSan: "{{.Company.Name}}"
      mayAdd: ["1.2", OU, OU]
      forbidden: [CN]
      keyUsage: [signing, digitalSignature, digitalSignature]
      extKeyUsage: [clientAuth, login, "2.5.29.37.0"]
`
	const want = `usbkeyd: DIR/station.yaml：products[0].certificate.subject[0].type：没有属性类型 "XX"；请用点分 OID，或其中之一：C, ST, L, O, OU, CN, title, serialNumber, organizationIdentifier, businessCategory, street, postalCode, description, UID, DC, emailAddress, dnQualifier, name, SN, GN, jurisdictionC
products[0].certificate.subject[1].value：C："china" 有 5 个字符，必须正好 2 个
products[0].certificate.subject[2].value：没有字段 .Nope；可用：.OrderID, .UnitID, .Sequence, .Of, .Company.Name, .Company.USCC, .Handler.Name, .Handler.Email, .ProductCode
products[0].certificate.subject[3].value：模板：1:2："value" 的 <truncate 0 .UnitID> 处：truncate 出错：truncate：不能是 0 个字符
products[0].certificate.subject[4].value：C："cn" 不是 ISO 3166 国家代码（两个大写字母）
products[0].certificate.subject[5].value：DC："中" 含有 IA5String 不允许的字符
products[0].certificate.subject[6].value：没有字段 .Nothing；可用：.OrderID, .UnitID, .Sequence, .Of, .Company.Name, .Company.USCC, .Handler.Name, .Handler.Email, .ProductCode
products[0].certificate.subject[7].value：OU 是空的，而没有设为可省略（optional）
products[0].certificate.subject[8].value：模板：这里不支持 {{range .UnitID}}{{end}}
products[0].certificate.subject[9].value：serialNumber：" a" 首尾有空格
products[0].certificate.emailSan："示例客车配件有限公司" 不是纯 ASCII 的电子邮箱地址
products[0].certificate.mayAdd[2]："OU" 重复
products[0].certificate.forbidden[0]：CN 也在 subject 或 mayAdd 中：请删去一处
products[0].certificate.keyUsage[0]：没有密钥用途 "signing"；可用：contentCommitment, dataEncipherment, decipherOnly, digitalSignature, encipherOnly, keyAgreement, keyEncipherment, nonRepudiation
products[0].certificate.keyUsage[2]："digitalSignature" 重复
products[0].certificate.extKeyUsage[1]：没有扩展密钥用途 "login"；请用点分 OID，或其中之一：clientAuth, codeSigning, documentSigning, emailProtection, smartcardLogon, timeStamping
products[0].certificate.extKeyUsage[2]：不允许 anyExtendedKeyUsage
certificateTrust：DIR/bad.pem：其中有无法解析的证书：证书已损坏
labels.font：字体不可用：module.so 不是单独的 TrueType 字体（应为 .ttf，不能是 .ttc 或 .otf）
`
	if got := checkedInChinese(t, good); got != want {
		t.Errorf("config check says\n%s, want\n%s", got, want)
	}
}

// TestBrokenYAMLInChinese: whatever the library says.
func TestBrokenYAMLInChinese(t *testing.T) {
	for yaml, want := range map[string]string{
		"":                               "文件是空的",
		"station: a\nstation: b\n":       "第 2 行第 1 列：不是有效的 YAML：\"station\" 重复，第 1 行第 1 列已经有了：请删去一处",
		"station: a: b\n":                "第 1 行第 10 列：不是有效的 YAML：这里不能有值：请检查缩进，以及值里的冒号（含冒号的值要加引号）",
		"\tstation: a\n":                 "第 1 行第 8 列：不是有效的 YAML：名称前有制表符：请改用空格",
		"station: a\n\tstateDir: b\n":    "第 2 行第 1 列：不是有效的 YAML：缩进用了制表符：请改用空格",
		"station: \"a\n":                 "第 1 行第 10 列：不是有效的 YAML：双引号没有闭合",
		"station: 'a\n":                  "第 1 行第 10 列：不是有效的 YAML：单引号没有闭合",
		"station: [a\n":                  "第 1 行第 10 列：不是有效的 YAML：方括号没有闭合：缺少 ]",
		"station: {a: b\n":               "第 1 行第 10 列：不是有效的 YAML：花括号没有闭合：缺少 }",
		"station: a]\n":                  "station：应为 1 至 63 个字符，只能用 a-z、0-9 和 -，首尾不能是 -",
		"modules: [a, ,]\n":              "第 1 行第 14 列：不是有效的 YAML：这里不应是这样的值：请检查逗号、缩进和引号",
		"modules: ]\n":                   "第 1 行第 10 列：不是有效的 YAML：多了一个 ]：没有对应的 [",
		"modules: }\n":                   "第 1 行第 10 列：这里应是列表：[a, b]，或以 - 开头的若干行",
		"station: @a\n":                  "第 1 行第 10 列：不是有效的 YAML：不能以 '@' 开头：请给值加引号",
		"station: \"\\q\"\n":             "第 1 行第 12 列：不是有效的 YAML：双引号中有未知的转义 'q'：反斜杠请写成 \\\\，或改用单引号",
		"station: a\n  b: c\n":           "第 1 行第 10 列：不是有效的 YAML：这里不能有值：请检查缩进，以及值里的冒号（含冒号的值要加引号）",
		"station: a\nb\n":                "第 2 行第 1 列：不是有效的 YAML：这里应是名称和值：请检查缩进，以及冒号后的空格",
		"station:\n- a\nb: c\n d\n":      "第 2 行第 1 列：这里应是文本；请加引号",
		"station: - a\n":                 "第 1 行第 10 列：不是有效的 YAML：这里不能有以 - 开头的列表：请另起一行",
		"station: a\n...\nb\n":           "第 3 行第 1 列：不是有效的 YAML：文档结束（...）之后还有内容：请删去",
		"station: a\n---\nstation: b\n":  "第 2 行第 1 列：这里开始了第二份配置（---）：一个文件只能有一份",
		"station: *\n":                   "第 1 行第 10 列：不是有效的 YAML：别名（*）没有名称：以 * 开头的值请加引号",
		"station: &\n":                   "第 1 行第 10 列：不是有效的 YAML：锚点（&）没有名称：含 & 的值请加引号",
		"%YAML\n":                        "第 1 行第 1 列：不是有效的 YAML：% 指令后没有文档：以 % 开头的值请加引号",
		"station: a\n--- b\n":            "第 2 行第 1 列：这里开始了第二份配置（---）：一个文件只能有一份",
		"a: |x\n b\n":                    "第 1 行第 4 列：不是有效的 YAML：| 或 > 之后的 \"x\" 无效",
		": a\n":                          "第 1 行第 1 列：不是有效的 YAML：这里不应是名称：请检查缩进，以及冒号后的空格",
		"station: \xff\n":                "文件不是 UTF-8 文本：请以 UTF-8 编码保存",
		"a: b\n  - c\n":                  "第 1 行第 1 列：没有配置项 \"a\"；这里可用：station, stateDir, central, identity, recipients, certificateTrust, modules, tokenProfiles, products, mailer, console, stock, packing, labels, metrics, journal",
		"{a: b}: c\n":                    "第 1 行第 7 列：不是有效的 YAML：这里的名称无效：请检查缩进和冒号",
		"? a\n":                          "第 1 行第 1 列：这里应是普通的配置项名称",
		"a: {b c}\n":                     "第 1 行第 1 列：没有配置项 \"a\"；这里可用：station, stateDir, central, identity, recipients, certificateTrust, modules, tokenProfiles, products, mailer, console, stock, packing, labels, metrics, journal",
		"a: [b c: d: e]\n":               "第 1 行第 10 列：不是有效的 YAML：这里不能有值：请检查缩进，以及值里的冒号（含冒号的值要加引号）",
		"\"a\nb\": c\n":                  "第 1 行第 1 列：不是有效的 YAML：这里不应是名称：请检查缩进，以及冒号后的空格",
		"a: \"\\u12\"\n":                 "第 1 行第 4 列：不是有效的 YAML：双引号没有闭合",
		"#" + strings.Repeat("x", 1<<20): "文件超过 1048576 字节",
	} {
		got := checkedInChinese(t, yaml)
		got, _, _ = strings.Cut(strings.TrimPrefix(got, "usbkeyd: DIR/station.yaml："), "\n")
		if got != want {
			t.Errorf("%.40q: %q,", yaml, got)
		}
	}
}
