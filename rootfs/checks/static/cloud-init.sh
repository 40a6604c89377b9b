#!/bin/sh
# cloud-init's modules are the allow-listed ones, after all its configuration files are merged.
set -eu
merged=/run/cloud-init/combined-cloud-config.json
within=.
older=/run/cloud-init/instance-data-sensitive.json
if [ ! -r "$merged" ] && [ -r "$older" ] && jq -e .merged_cfg "$older" >/dev/null; then
  # cloud-init 22.4 (Debian 12) keeps it there.
  merged=$older
  within=.merged_cfg
fi
if [ ! -r "$merged" ]; then
  # Where it finds no cloud at all it doesn't run (ds-identify), and leaves neither of these.
  if [ -e /run/cloud-init/instance-data.json ] || [ -e /run/cloud-init/status.json ]; then
    echo "cloud-init ran, but its merged configuration isn't there" >&2
    exit 1
  fi
  exit 0
fi
wrong=$(jq -r "$within"' | [
    (if .allow_userdata == false then empty else "allow_userdata" end),
    (if (.cloud_init_modules // []) - ["set_hostname", "update_hostname"] == [] then empty else "cloud_init_modules" end),
    (if (.cloud_config_modules // []) == [] then empty else "cloud_config_modules" end),
    (if (.cloud_final_modules // []) == [] then empty else "cloud_final_modules" end),
    (if (.users // []) == [] then empty else "users" end)
  ] | join(", ")' "$merged")
if [ -n "$wrong" ]; then
  echo "cloud-init's configuration allows more than the image does: $wrong" >&2
  exit 1
fi
