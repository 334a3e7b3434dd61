def model(dbt, session):
    purchases = dbt.ref("stg_purchases").df()
    purchases["score"] = purchases["cents"].fillna(0) / 100
    return purchases[["customer_id", "recorded_at", "score"]].rename(columns={"recorded_at": "noted_at"})
