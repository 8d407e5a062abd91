package wording

// libraryTexts are what cobra and pflag say.
func libraryTexts() map[string]string {
	return map[string]string{
		"help for %s":            "显示 %s 的说明",
		"Help about any command": "显示任一命令的说明",
		"Generate the autocompletion script for the specified shell": "输出指定 shell 的自动补全脚本",
		"Generate the autocompletion script for %s":                  "输出 %s 的自动补全脚本",
		"disable completion descriptions":                            "补全时不显示说明",

		"unknown command %q for %q":           "%[2]s 没有命令 %[1]s",
		"unknown flag: %s":                    "没有选项 %s",
		"unknown shorthand flag: %q in %s":    "%[2]s 中没有选项 %[1]s",
		"flag needs an argument: %s":          "选项 %s 需要一个值",
		"invalid argument %q for %q flag: %v": "选项 %[2]s 的值 %[1]s 无效：%[3]s",
		"%w; see %q":                          "%s；说明见 %s",
		"use table or json":                   "请用 table 或 json",
	}
}

// composedTexts are those that the program puts together of several, so that no line of it says
// them.
func composedTexts() map[string]string {
	return map[string]string{
		"%s, no profile fits":                     "%s，没有适合的令牌配置",
		"%s, not on the list of delivered tokens": "%s，不在到货清单上",
		"Note: module %s has trust: owner: whoever works as the daemon's user can exchange %s and read PINs; give the file to root and take trust out of the configuration.": "注意：模块 %s 设有 trust: owner：以服务用户工作的任何人都能替换 %s 并读取 PIN 码；请把文件交给 root，并从配置中去掉 trust。",
		"html or pdf":                  "html 或 pdf",
		"csv or json":                  "csv 或 json",
		"output `format`: html or pdf": "输出`格式`：html 或 pdf",
		"output `format`: csv or json": "输出`格式`：csv 或 json",
		"waits for network":            "等待中心服务器",
		"waits for token":              "等待令牌",
		"waits for lease":              "等待重新领取",
		"waits for person":             "等待人工处理",
		"waits for station":            "等待工作站恢复",
		"waits for its turn":           "等待轮到",
	}
}
