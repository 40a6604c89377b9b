#!/bin/sh
# cloud-init's modules are the allow-listed ones, after all its configuration files are merged.
set -eu
merged=/run/cloud-init/combined-cloud-config.json
# Without a cloud it didn't run.
[ -r "$merged" ] || exit 0
wrong=$(jq -r '[
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
