CREATE VIEW timeline_events AS
SELECT id, source, customer_id, at, kind, title, detail, amount, currency, link, subject_id, dedupe_key, created_at
  FROM external_timeline_events
UNION ALL
SELECT md5(dedupe_key)::uuid, source, customer_id,
       coalesce(timezone('UTC', issued_on::timestamp), vendor_updated_at, updated_at),
       'invoice_issued', coalesce('Invoice ' || number, 'Invoice') || ' issued', reference,
       total, currency, vendor_url, id, dedupe_key, created_at
  FROM billing_invoices
 CROSS JOIN LATERAL (SELECT concat_ws(':', source, source_tenant_id, 'invoice', external_id, 'invoice_issued')) AS key (dedupe_key)
 WHERE status IN ('open', 'paid', 'void')
UNION ALL
SELECT md5(dedupe_key)::uuid, source, customer_id,
       coalesce(timezone('UTC', paid_on::timestamp), vendor_updated_at, updated_at),
       'invoice_paid', coalesce('Invoice ' || number, 'Invoice') || ' paid', reference,
       total, currency, vendor_url, id, dedupe_key, created_at
  FROM billing_invoices
 CROSS JOIN LATERAL (SELECT concat_ws(':', source, source_tenant_id, 'invoice', external_id, 'invoice_paid')) AS key (dedupe_key)
 WHERE status = 'paid'
UNION ALL
SELECT md5(dedupe_key)::uuid, source, customer_id,
       coalesce(voided_at, vendor_updated_at, updated_at),
       'invoice_voided', coalesce('Invoice ' || number, 'Invoice') || ' voided', reference,
       total, currency, vendor_url, id, dedupe_key, created_at
  FROM billing_invoices
 CROSS JOIN LATERAL (SELECT concat_ws(':', source, source_tenant_id, 'invoice', external_id, 'invoice_voided')) AS key (dedupe_key)
 WHERE status = 'void'
UNION ALL
SELECT md5(dedupe_key)::uuid, source, customer_id,
       coalesce(timezone('UTC', issued_on::timestamp), vendor_updated_at, updated_at),
       'credit_memo_issued', coalesce('Credit memo ' || number, 'Credit memo') || ' issued', reference,
       total, currency, vendor_url, id, dedupe_key, created_at
  FROM billing_credit_memos
 CROSS JOIN LATERAL (SELECT concat_ws(':', source, source_tenant_id, 'credit_memo', external_id, 'credit_memo_issued')) AS key (dedupe_key)
 WHERE status IN ('open', 'paid', 'void')
UNION ALL
SELECT md5(dedupe_key)::uuid, payment.source, payment.customer_id,
       coalesce(timezone('UTC', payment.paid_on::timestamp), payment.vendor_updated_at, payment.updated_at),
       'payment_received', 'Payment received' || coalesce(' for ' || invoice.number, ''), payment.reference,
       payment.amount, payment.currency, invoice.vendor_url, payment.id, dedupe_key, payment.created_at
  FROM billing_payments AS payment
  LEFT JOIN billing_invoices AS invoice ON invoice.id = payment.invoice_id
 CROSS JOIN LATERAL (SELECT concat_ws(':', payment.source, payment.source_tenant_id, 'payment', payment.external_id,
                                      payment.invoice_external_id, 'payment_received')) AS key (dedupe_key)
 WHERE payment.customer_id IS NOT NULL
UNION ALL
SELECT md5(dedupe_key)::uuid, payment.source, payment.customer_id,
       coalesce(payment.deleted_at, payment.vendor_updated_at, payment.updated_at),
       'payment_deleted', 'Payment deleted' || coalesce(' for ' || invoice.number, ''), payment.reference,
       payment.amount, payment.currency, invoice.vendor_url, payment.id, dedupe_key, payment.created_at
  FROM billing_payments AS payment
  LEFT JOIN billing_invoices AS invoice ON invoice.id = payment.invoice_id
 CROSS JOIN LATERAL (SELECT concat_ws(':', payment.source, payment.source_tenant_id, 'payment', payment.external_id,
                                      payment.invoice_external_id, 'payment_deleted')) AS key (dedupe_key)
 WHERE payment.customer_id IS NOT NULL AND payment.status = 'deleted'
