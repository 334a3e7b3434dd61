select * from {{ source('lake', 'visits') }}
