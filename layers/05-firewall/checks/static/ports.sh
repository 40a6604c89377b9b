#!/usr/bin/python3 -I
"""Chains and sets open what ports.d names and nothing else, and no rule beside them opens anything."""

import glob
import ipaddress
import json
import os
import re
import subprocess
import sys

OPEN = re.compile(
    r"-A clawdy-open (?:-s (\S+) )?-p (tcp|udp) -m (?:tcp|udp) --dport (\d+) -m conntrack --ctstate NEW -j ACCEPT"
)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def entry(protocol, port, network=None):
    return (protocol, int(port), ipaddress.ip_network(network) if network else None)


def wanted():
    found = set()
    for name in glob.glob("/run/clawdy/ports.d/*"):
        # The temporary file of one being written.
        if "." in os.path.basename(name):
            continue
        with open(name, encoding="ascii") as file:
            found.update(entry(*line.split()) for line in file)
    return found


def in_chain(command):
    rules = run(command, "--wait", "10", "-S").splitlines()
    ours = [rule for rule in rules if rule.startswith("-A clawdy-open ")]
    found = set()
    for rule in ours:
        match = OPEN.fullmatch(rule)
        if not match:
            sys.exit(f"{command} has a rule that isn't of ports.d")
        found.add(entry(match[2], match[3], match[1]))
    user = "-A ufw6-user-input " if command.startswith("ip6") else "-A ufw-user-input "
    if any(rule.startswith(user) or re.match(r"-A INPUT .*-j ACCEPT", rule) for rule in rules):
        sys.exit(f"{command} has further rules that let in")
    return found


def in_set(name):
    document = json.loads(run("nft", "-j", "list", "set", "inet", "clawdy_firewall", name))
    found = set()
    for item in document["nftables"]:
        for element in item.get("set", {}).get("elem", []):
            *network, protocol, port = element["concat"]
            for part in network:
                if isinstance(part, dict):
                    part = f"{part['prefix']['addr']}/{part['prefix']['len']}"
                found.add(entry(protocol, port, part))
            if not network:
                found.add(entry(protocol, port))
    return found


want = wanted()
for command, version in (("iptables", 4), ("ip6tables", 6)):
    if in_chain(command) != {item for item in want if item[2] is None or item[2].version == version}:
        sys.exit(f"{command} opens other ports than were asked for")
if in_set("ports") | in_set("ports4") | in_set("ports6") != want:
    sys.exit("the table inet clawdy_firewall opens other ports than were asked for")
