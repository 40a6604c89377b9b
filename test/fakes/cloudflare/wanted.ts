// The forms of Cloudflare's requests that we send, of the official SDK's types. generate.ts makes schemas.json of them.
import type { BotManagementUpdateParams } from 'cloudflare/resources/bot-management/bot-management.js';
import type { RecordCreateParams } from 'cloudflare/resources/dns/records.js';
import type { NamespaceCreateParams } from 'cloudflare/resources/kv/namespaces/namespaces.js';
import type { OriginCACertificateCreateParams } from 'cloudflare/resources/origin-ca-certificates/origin-ca-certificates.js';
import type { SettingUpdateParams } from 'cloudflare/resources/origin-tls-client-auth/settings.js';
import type { ZoneCertificateCreateParams } from 'cloudflare/resources/origin-tls-client-auth/zone-certificates.js';
import type { ItemUpdateParams } from 'cloudflare/resources/rules/lists/items.js';
import type { ListCreateParams } from 'cloudflare/resources/rules/lists/lists.js';
import type { PhaseUpdateParams } from 'cloudflare/resources/rulesets/phases/phases.js';
import type { RouteCreateParams } from 'cloudflare/resources/workers/routes.js';
import type { ScriptUpdateParams } from 'cloudflare/resources/workers/scripts/scripts.js';
import type { SubdomainCreateParams } from 'cloudflare/resources/workers/scripts/subdomain.js';
import type { ApplicationCreateParams } from 'cloudflare/resources/zero-trust/access/applications/applications.js';
import type { PolicyCreateParams } from 'cloudflare/resources/zero-trust/access/policies.js';
import type {
  MinTLSVersion,
  SecurityHeaders,
  SSL,
  TLS1_3,
  Websocket,
  ZeroRTT,
} from 'cloudflare/resources/zones/settings.js';

/** Of a Worker's upload what we send; all kinds of bindings would be another hundred kilobytes. */
type Script = Pick<
  ScriptUpdateParams.Metadata,
  | 'annotations'
  | 'compatibility_date'
  | 'exports'
  | 'logpush'
  | 'main_module'
  | 'observability'
  | 'tags'
  | 'tail_consumers'
> & {
  bindings: (
    | ScriptUpdateParams.Metadata.WorkersBindingKindPlainText
    | ScriptUpdateParams.Metadata.WorkersBindingKindSecretText
    | ScriptUpdateParams.Metadata.WorkersBindingKindDurableObjectNamespace
    | ScriptUpdateParams.Metadata.WorkersBindingKindKVNamespace
  )[];
};

export interface Wanted {
  dnsRecord: RecordCreateParams.ARecord | RecordCreateParams.AAAARecord | RecordCreateParams.CNAMERecord;
  bots: BotManagementUpdateParams.BotFightModeConfiguration;
  originCertificate: OriginCACertificateCreateParams;
  clientCertificate: ZoneCertificateCreateParams;
  clientAuth: SettingUpdateParams;
  list: ListCreateParams;
  listItems: ItemUpdateParams;
  phase: PhaseUpdateParams;
  namespace: NamespaceCreateParams;
  route: RouteCreateParams;
  script: Script;
  subdomain: SubdomainCreateParams;
  application: ApplicationCreateParams.SelfHostedApplication;
  policy: PolicyCreateParams;
  ssl: SSL['value'];
  min_tls_version: MinTLSVersion['value'];
  tls_1_3: TLS1_3['value'];
  '0rtt': ZeroRTT['value'];
  websockets: Websocket['value'];
  security_header: SecurityHeaders['value'];
}
