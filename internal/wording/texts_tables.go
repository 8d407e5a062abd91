package wording

// tableTexts are the headings of tables, the words of their first columns where those are facts,
// and what is said instead of an empty one.
func tableTexts() map[string]string {
	return map[string]string{
		"AT": "时间", "AT WORK": "制作中", "BAY": "槽位", "BLANK": "空白", "BY": "依据", "CALL": "调用", "CASING": "外壳编号", "CASING NUMBER": "外壳编号",
		"CERTIFICATE SERIAL": "证书序列号", "CERTIFICATE SHA-256": "证书摘要（SHA-256）", "CHECK": "检查项", "CKA_ID": "CKA_ID", "CLAIMED": "声称支持",
		"CLOSED BY": "封箱人", "CODE": "代码", "COMPANY": "单位", "CONFIRMED BY": "确认人", "DELIVERED": "到货", "DONE": "完成", "DUE": "截止", "EPOCH": "租约号",
		"FAILED": "失败", "FINDING": "结果", "FINISHED": "完成", "FIRMWARE": "固件", "FLAGS": "标志", "FOUND": "现状", "FROM": "起始", "HOW IT IS KNOWN": "如何得知",
		"INDEX": "序号", "IS": "状态", "JOB": "任务", "JOURNAL": "任务日志", "KEY": "第几把", "KEYS": "把数", "KIND": "种类", "LABEL": "标签", "LEFT OUT": "省略的属性",
		"LETTER": "密码信封", "LOT": "批次", "MADE BY": "生成方式", "MANUFACTURER": "厂商", "MARKS": "标记", "MAX (MILLISECONDS)": "最大（毫秒）", "MEDIAN": "中位数",
		"MEDIAN SECONDS": "中位数（秒）", "MIN": "最小", "MODEL": "型号", "MODULE": "模块", "NEXT": "下一步", "NO": "编号", "NOTE": "说明", "ON": "内容", "OPEN": "未完成",
		"ORDER": "订单", "PARCEL": "包裹", "PIN LENGTHS": "PIN 码长度", "PRINTED BY": "打印人", "PROFILE": "令牌配置", "PUBLIC KEY SHA-256": "公钥摘要（SHA-256）",
		"QUARANTINED": "隔离", "QUESTION": "问题", "REASON": "原因", "RECORD": "操作记录", "REFUSED": "打不开", "REMARK": "备注", "RULE": "规则", "SCANNED BY": "扫描人",
		"SECONDS (MIN / MEDIAN / MAX)": "秒（最小 / 中位数 / 最大）", "SHEETS": "张数", "SINCE": "自", "SLOT": "槽位", "STATE": "状态", "STEP": "步骤", "SUBJECT": "证书主题",
		"TAKEN IN BY": "登记人", "TIME": "时间", "TIMES": "次数", "TODAY": "今日", "TOKEN SERIAL": "令牌序列号", "UNIT": "单元", "URGENT": "加急", "VALID FROM": "生效",
		"VALID UNTIL": "有效期至", "VERDICT": "结论", "VERIFIED": "已核对", "WAYBILL": "运单号", "WHAT": "事项", "WHAT IT SAYS": "内容", "WHAT TO DO": "如何修复",
		"WHAT WAS FOUND": "发现", "WORKS": "可用", "WRITTEN": "已写入",

		"unit": "单元", "company": "单位", "state": "状态", "step": "步骤", "waits for": "等待", "reason": "原因", "next action": "下一步", "module": "模块",
		"token serial": "令牌序列号", "token label": "令牌标签", "key id": "密钥标识", "certificate serial": "证书序列号", "certificate SHA-256": "证书摘要（SHA-256）",
		"subject": "证书主题", "attestation": "来源证明", "seconds": "用时（秒）", "product": "产品", "done": "完成", "due": "截止", "urgent": "加急",
		"casing number": "外壳编号", "model": "型号", "order": "订单", "job": "任务", "since": "自", "on it": "内容", "next": "下一步", "plugged in": "所在槽位", "hint": "提示",
		"finished": "完成", "failed": "失败", "quarantined": "隔离", "not finished": "未完成", "of them wait for a person": "其中等待人工处理", "of them late": "其中已超期",
		"finished and not sent": "已完成未发出", "reports not delivered": "待上报",
		"entries": "条数", "here from entry": "本站保存自第几条起", "root": "根哈希", "signed by the central server": "中心服务器已签到", "signed by the station": "本站签名",
		"station": "工作站", "key": "密钥", "TPM": "TPM", "maker": "厂商", "endorsement key": "背书密钥", "key SHA-256": "密钥摘要（SHA-256）", "certificate until": "证书有效期至",
		"jobs": "任务", "entries of the record": "操作记录条数", "bytes before": "清理前字节数", "not used": "未使用字节数", "bytes after": "清理后字节数",

		"No bay can be shown: look at the modules in the configuration.": "没有可显示的槽位：请检查配置中的模块。",
		"Nothing is waiting: all that was claimed is done.":              "没有任务：所有已领取的任务都已完成。",
		"Nothing of that is on record.":                                  "操作记录中没有这样的内容。",
		"No jobs yet.":                                                   "还没有任务。",
		"No job is in this state.":                                       "没有这种状态的任务。",
		"No label is waited for.":                                        "现在没有待贴的标签。",
		"No units whose PINs go by mailer.":                              "没有用密码信封交付 PIN 码的单元。",
		"No orders yet.":                                                 "还没有订单。",
		"No certificates yet.":                                           "还没有证书。",
		"No keys.":                                                       "没有钥匙。",
		"No such parcels.":                                               "没有这样的包裹。",
		"No token is in quarantine.":                                     "没有隔离的令牌。",
		"Nothing was found: give at least 4 characters, or a whole number.": "没有找到：请输入编号的至少 4 个字符，或完整的编号。",
		"Nothing was found.":                            "没有找到。",
		"No list of delivered tokens was taken in yet.": "还没有登记到货清单。",
		"No tokens of this lot were taken in.":          "没有登记过这个批次的令牌。",
		"No job has ended today.":                       "今天还没有结束的任务。",
		"No tokens are plugged in.":                     "没有插入令牌。",
	}
}

// stateTexts are the names of states that only the command line shows, each behind its family.
func stateTexts() map[string]string {
	return map[string]string{
		"on.key": "客户密钥", "on.nothing": "没有", "on.emptied": "已清空", "on.blank": "空白",
		"next.insert": "插入", "next.wipe": "擦除", "next.release": "放回", "next.keep": "保留",
		"mark.late": "超期", "mark.soon": "将到期", "mark.urgent": "加急", "mark.held": "待处理", "mark.waiting": "等待",
		"label-is.in-bay": "未取出", "label-is.pulled": "待打印", "label-is.printed": "待贴", "label-is.mixed": "多个令牌已取出", "label-is.stuck": "已贴", "label-is.aside": "已剔除",
		"parcel.open": "未封", "parcel.closed": "已封，待服务器应答", "parcel.shipped": "已发出", "parcel.refused": "需要处理",
		"event.present": "已插入", "event.inserted": "插入", "event.removed": "拔出", "event.fault": "故障",
		"doctor.good": "正常", "doctor.note": "注意", "doctor.wrong": "有问题",
		"service.running": "运行中", "service.stopped": "已停止", "service.unknown": "未知", "service.not installed": "未安装",
		"service.install": "安装", "service.uninstall": "卸载", "service.start": "启动", "service.stop": "停止", "service.restart": "重启",
		"yes.yes": "是",
	}
}
